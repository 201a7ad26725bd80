"""Choosing two views of a shape that overlap enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mvdecor.correspondences.matches import Matches
from mvdecor.correspondences.matching import match_views
from mvdecor.correspondences.settings import Matching
from mvdecor.views import Surface


def choose_pair(
    surface: Callable[[list[int]], Surface],
    views: Sequence[int],
    matching: Matching,
    generator: torch.Generator,
    rejected: set[tuple[int, int]] | None = None,
) -> tuple[int, int, Matches] | None:
    """Sample pairs of views until one overlaps in more than `matching.min_overlap` of the smaller view's foreground.

    A pair is ordered: matches go from pixels of A to B, so (a, b) may overlap more than (b, a).

    Args:
        surface: gives the surfaces of the listed views of one shape, in that order.
        views: views to choose from.
        matching: what matches, the least overlap, and how many pairs to try at most, all different.
        generator: CPU generator of the samples.
        rejected: pairs of `views` known to overlap too little, which are not matched again; those found here are added.
            What is chosen does not depend on it.

    Returns:
        views a and b and their matches (one pair), or None if no pair tried was good enough: the caller reports the
        shape instead of looking for ever.
    """
    rejected = set() if rejected is None else rejected
    tried_pairs: set[tuple[int, int]] = set()
    while len(tried_pairs) < min(matching.tries, len(views) * (len(views) - 1)):
        a, b = pair = tuple(views[i] for i in torch.randperm(len(views), generator=generator)[:2].tolist())
        if pair not in rejected:
            surfaces = surface([a, b])
            matches = match_views(surfaces[:1], surfaces[1:], matching.tolerance, matching.min_cosine, matching.unique)
            if float(matches.overlap[0]) > matching.min_overlap:
                return a, b, matches
            rejected.add(pair)
        tried_pairs.add(pair)
    return None
