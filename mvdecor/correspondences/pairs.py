"""Choosing two views of a shape that overlap enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from mvdecor.correspondences.matches import Matches
from mvdecor.correspondences.matching import match_views
from mvdecor.views import Surface


def choose_pair(
    surface: Callable[[list[int]], Surface],
    views: Sequence[int],
    min_overlap: float,
    tries: int,
    generator: torch.Generator,
    tolerance: float = 5e-3,
    min_cosine: float = 0.5,
    rejected: set[frozenset[int]] | None = None,
    unique: bool = True,
) -> tuple[int, int, Matches] | None:
    """Draw pairs of views until one overlaps in more than `min_overlap` of the smaller view's foreground.

    Args:
        surface: gives the surfaces of the listed views of one shape, in that order.
        views: views to choose from.
        min_overlap: least overlap (0.15 in the paper's recipe).
        tries: most pairs to try, all different.
        generator: CPU generator of the draws.
        tolerance: see `match_views`.
        min_cosine: see `match_views`.
        rejected: pairs of `views` known to overlap too little, which are not matched again; those found here are added.
            What is chosen does not depend on it.
        unique: see `match_views`.

    Returns:
        views a and b and their matches (one pair), or None if no pair tried was good enough: the caller reports the
        shape instead of looking for ever.
    """
    rejected = set() if rejected is None else rejected
    tried: set[frozenset[int]] = set()
    while len(tried) < min(tries, len(views) * (len(views) - 1) // 2):
        a, b = (views[i] for i in torch.randperm(len(views), generator=generator)[:2].tolist())
        pair = frozenset((a, b))
        if pair not in rejected:
            both = surface([a, b])
            matches = match_views(both[[0]], both[[1]], tolerance, min_cosine, unique)
            if float(matches.overlap[0]) > min_overlap:
                return a, b, matches
            rejected.add(pair)
        tried.add(pair)
    return None
