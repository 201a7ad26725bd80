"""Sampling the pairs of a batch together: what a GPU does, which one pair at a time would keep waiting.

The pairs are those that `choose_pair` finds one after another. Of each item the next candidates are sampled ahead, those of all
items are matched at once, and the item's generator goes back to where it was after the candidate that is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mvdecor.correspondences import Matches, Matching, match_views, sample_rows
from mvdecor.shapes import Shape
from mvdecor.views import ForegroundImages, Rendering, ShapeViews, Surface, Views, surface_of_all

AHEAD = 6
"""Candidates of an item that are matched at once; only one where their views would have to be rasterized for it. With six,
most batches of the recipe take one round."""


@dataclass
class Search:
    """The search for the pair of one item.

    Attributes:
        generator: of the item.
        next_shape: samples the number of another shape; raises InputError if there is none left.
        number: of the shape that is tried.
        sampled: ordered pairs of its views so far.
        failed: numbers of shapes that had no pair.
    """

    generator: torch.Generator
    next_shape: Callable[[torch.Generator, set[int]], int]
    number: int = -1
    sampled: set[tuple[int, int]] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)

    def candidates(
        self, shape_views: ShapeViews, rejected: Callable[[int], set[tuple[int, int]]], tries: int
    ) -> list[tuple[int, int, Tensor]]:
        """The next pairs that are not known to be bad, at most `AHEAD`, each with the generator's state after it."""
        ahead: list[tuple[int, int, Tensor]] = []
        while not ahead:
            if self.number < 0:
                self.number, self.sampled = self.next_shape(self.generator, self.failed), set()
            shape, rejected_pairs = shape_views[self.number], rejected(self.number)
            count, most_ahead = shape_views.num_views(shape), AHEAD if shape_views.stored(shape) else 1
            limit = min(tries, count * (count - 1))
            while len(self.sampled) < limit and len(ahead) < most_ahead:
                a, b = torch.randperm(count, generator=self.generator)[:2].tolist()
                pair = (a, b)
                if pair not in rejected_pairs and pair not in self.sampled:
                    ahead.append((a, b, self.generator.get_state()))
                self.sampled.add(pair)
            if not ahead:
                self.failed.add(self.number)
                self.number = -1
        return ahead


@dataclass(frozen=True)
class Pairs:
    """The pairs that were taken, P in the order of the items.

    Attributes:
        shapes: of each pair.
        index: numbers of its two views.
        views: the two views of each.
        surface: of all of them, pair after pair.
        matches: of each pair, the matches of all pairs that it was tried with, its first row in them, and how many are its.
    """

    shapes: list[Shape]
    index: list[tuple[int, int]]
    views: list[Views]
    surface: Surface
    matches: list[tuple[Matches, int, int]]

    def rendered(self, rendering: Rendering, generators: Sequence[torch.Generator]) -> ForegroundImages:
        """Of the images [2, P, L, C, H, W]."""
        images = rendering.at_foreground(self.shapes, self.views, self.surface, generators)
        of_view, pairs = self.surface.mask[0].numel(), len(self.shapes)
        view = self.surface.foreground.view
        shift = (view % 2 * pairs + view // 2 - view) * of_view  # from pair after pair to views A, then views B
        return ForegroundImages(images.values, images.seen + shift, (2, pairs, *images.size[1:]))

    def sample(self, count: int, generators: Sequence[torch.Generator], replace: bool) -> Matches:
        """At most `count` matches of each pair, as `sample_matches` takes them."""
        rows = [sample_rows(n, count, g, replace) for (_, _, n), g in zip(self.matches, generators, strict=True)]
        sources = list({id(matches): matches for matches, _, _ in self.matches}.values())
        first = {id(m): sum(map(len, sources[:i])) for i, m in enumerate(sources)}
        starts = [first[id(matches)] + start for matches, start, _ in self.matches]
        all_matches = sources[0] if len(sources) == 1 else Matches.cat(sources)
        device = all_matches.pair.device
        index = torch.cat([start + r for start, r in zip(starts, rows, strict=True)]).to(device, non_blocking=True)
        sizes = torch.tensor([len(r) for r in rows])
        pair = torch.arange(len(rows)).repeat_interleave(sizes).to(device, non_blocking=True)
        selected = all_matches.select(index)
        of_pair = sizes.cumsum(0).sub_(1).to(device, non_blocking=True)  # a match of each
        overlap = all_matches.overlap[all_matches.pair[index[of_pair]]]
        places = (selected.pixel_a, selected.layer_b, selected.xy_b, selected.points)
        return Matches(pair, *places, overlap, tuple(map(len, rows)))


def find_pairs(
    shape_views: ShapeViews,
    matching: Matching,
    searches: Sequence[Search],
    rejected: Callable[[int], set[tuple[int, int]]],
) -> Pairs:
    """The pair of each search, which goes on until it has one.

    Args:
        shape_views: where the shapes are.
        matching: what matches, and how much must.
        searches: one per item.
        rejected: of a shape's number, the pairs known to overlap too little; those found are added.

    Raises:
        InputError: those of `Search.next_shape`.
    """
    pairs_by_item: dict[int, tuple[Shape, tuple[int, int], Views, Surface, tuple[Matches, int, int]]] = {}
    while waiting := [i for i in range(len(searches)) if i not in pairs_by_item]:
        ahead = [searches[i].candidates(shape_views, rejected, matching.tries) for i in waiting]
        shapes = [shape_views[searches[i].number] for i in waiting]
        views = [
            shape_views.views(shape, [view for a, b, _ in pairs for view in (a, b)])
            for shape, pairs in zip(shapes, ahead, strict=True)
        ]
        surface = surface_of_all(shapes, views)
        matches = match_views(surface[0::2], surface[1::2], matching.tolerance, matching.min_cosine, matching.unique)
        results = _PerPair(matches)
        for i, shape, pairs, shape_views_ahead in zip(waiting, shapes, ahead, views, strict=True):
            search, rejected_pairs, start = searches[i], rejected(searches[i].number), results.position
            for number, ((a, b, state), (overlap, row, size)) in enumerate(
                zip(pairs, results.take(len(pairs)), strict=True)
            ):
                if overlap > matching.min_overlap:
                    search.generator.set_state(state)
                    seen = slice(2 * (start + number), 2 * (start + number) + 2)
                    part = shape_views_ahead[2 * number : 2 * number + 2]
                    pairs_by_item[i] = shape, (a, b), part, surface[seen], (matches, row, size)
                    break
                rejected_pairs.add((a, b))
    shapes_of_pairs, index, views_of_pairs, surfaces, rows = (
        list(x) for x in zip(*(pairs_by_item[i] for i in range(len(searches))), strict=True)
    )
    return Pairs(shapes_of_pairs, index, views_of_pairs, Surface.cat(surfaces), rows)


class _PerPair:
    """Overlap, first row and number of the matches of each pair, read in order; waits for the device once."""

    def __init__(self, matches: Matches) -> None:
        pairs = len(matches.overlap)
        bounds = torch.searchsorted(matches.pair, torch.arange(pairs + 1, device=matches.pair.device))
        values = torch.cat([matches.overlap.double(), bounds.double()]).tolist()
        self._overlap, self._bounds = values[:pairs], [int(bound) for bound in values[pairs:]]
        self.position = 0

    def take(self, count: int) -> Iterator[tuple[float, int, int]]:
        """Those of the next `count` pairs."""
        start = self.position
        self.position += count
        for pair in range(start, start + count):
            yield self._overlap[pair], self._bounds[pair], self._bounds[pair + 1] - self._bounds[pair]
