"""The batches of both loops: pairs of views with matches, and labelled views.

Each item of a batch is sampled with its own random generator, which depends on the seed, the step and the number of the
item alone. So a batch is the same whoever samples it: this process, a worker, or several processes that each sample a part.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from mvdecor.correspondences import Matches, Matching, choose_pair, sample_matches
from mvdecor.errors import InputError
from mvdecor.rows import rows_of
from mvdecor.seeds import seed_of
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.together import Search, find_pairs
from mvdecor.views import ForegroundImages, Rendering, ShapeViews, Surface, Views, surface_of
from mvdecor.views.views import join, spread


@dataclass(frozen=True)
class PairBatch:
    """P pairs of views of L layers with their matches.

    Attributes:
        rendered: of the images float32 [2, P, L, C, H, W], views A then views B.
        matches: the sampled matches, at most K per pair.
        shape_ids: the shape of each pair.
        views: numbers of its two views.
        unmatched: shapes that were sampled first, but had no two views that overlap enough.
        share: of the step's batch that these P pairs are.
        seeds: of what was sampled for each pair; no other item of the training has the same.
    """

    rendered: ForegroundImages
    matches: Matches
    shape_ids: tuple[str, ...]
    views: tuple[tuple[int, int], ...]
    unmatched: tuple[str, ...] = ()
    share: float = 1.0
    seeds: tuple[int, ...] = ()

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """Names of the images in their order, see `mvdecor.engine.dropout`."""
        layers = range(self.images.shape[2])
        return [(seed, view, layer) for view in (0, 1) for seed in self.seeds for layer in layers]

    @cached_property
    def images(self) -> Tensor:
        """float32 [2, P, L, C, H, W]."""
        return self.rendered.images

    def to(self, device: torch.device) -> PairBatch:
        """On a device; from pinned memory without waiting."""
        return replace(self, rendered=self.rendered.to(device, non_blocking=True), matches=self.matches.to(device))

    def pin_memory(self) -> PairBatch:
        """In memory that a GPU reads without the processor."""
        return replace(self, rendered=self.rendered.pin_memory(), matches=self.matches.pin_memory())


@dataclass(frozen=True)
class LabelledBatch:
    """B labelled views of L layers.

    Attributes:
        rendered: of the images float32 [B, L, C, H, W].
        seen_labels: int64 [Q], the labels of the pixels that `rendered` has, -1 where undetermined.
        shape_ids: the shape of each view.
        views: its number.
        seeds: of what was sampled for each view, as of `PairBatch`.
    """

    rendered: ForegroundImages
    seen_labels: Tensor
    shape_ids: tuple[str, ...]
    views: tuple[int, ...]
    seeds: tuple[int, ...] = ()

    @property
    def rows(self) -> list[tuple[int, ...]]:
        """Names of the images in their order, see `mvdecor.engine.dropout`."""
        return [(seed, layer) for seed in self.seeds for layer in range(self.images.shape[1])]

    @cached_property
    def images(self) -> Tensor:
        """float32 [B, L, C, H, W]."""
        return self.rendered.images

    @cached_property
    def labels(self) -> Tensor:
        """int64 [B, L, H, W], -1 where background or undetermined."""
        return spread(self.seen_labels + 1, self.rendered.seen, self.rendered.size) - 1

    def to(self, device: torch.device) -> LabelledBatch:
        """On a device; from pinned memory without waiting."""
        labels = self.seen_labels.to(device, non_blocking=True)
        return replace(self, rendered=self.rendered.to(device, non_blocking=True), seen_labels=labels)

    def pin_memory(self) -> LabelledBatch:
        """In memory that a GPU reads without the processor."""
        return replace(self, rendered=self.rendered.pin_memory(), seen_labels=self.seen_labels.pin_memory())


def generators(stream: str, seed: int, step: int, positions: Sequence[int]) -> Iterator[torch.Generator]:
    """The random generator (CPU) of each of the items of a step's batch of `what`."""
    for position in positions:
        yield torch.Generator().manual_seed(seed_of(stream, seed, step, position))


@dataclass
class PairSource:
    """Samples batches of overlapping pairs of views from shape_views (paper section 3.1).

    Shapes are sampled uniformly with replacement. Where no pair of views out of `matching.tries` overlaps enough, another
    shape is sampled for that item, and the batch says so.
    """

    shape_views: ShapeViews
    rendering: Rendering
    pairs: int = 8
    points: int = 4000
    matching: Matching = field(default_factory=Matching)
    replace: bool = False
    """Sample the points with replacement, see `sample_matches`."""

    stream: ClassVar[str] = "views"
    """What the two of a pair are."""

    def __post_init__(self) -> None:
        self._rejected: dict[str, set[tuple[int, int]]] = {}  # spares matching them again; changes no sample

    def __len__(self) -> int:
        """Items of a batch: pairs."""
        return self.pairs

    def sample(self, seed: int, step: int, positions: Sequence[int] | None = None) -> PairBatch:
        """The batch of a step, or only some items of it.

        Raises:
            InputError: if no shape has two views that overlap enough.
        """
        item_generators = list(
            generators(self.stream, seed, step, range(len(self)) if positions is None else positions)
        )
        seeds = tuple(generator.initial_seed() for generator in item_generators)
        batch = self._one_by_one(item_generators) if self._sequential else self._together(item_generators)
        return replace(batch, seeds=seeds)

    @property
    def _sequential(self) -> bool:
        """Whether pairs are sampled one by one: on the CPU, whose cache holds one pair."""
        return self.shape_views.device.type == "cpu"

    def _next_shape(self, generator: torch.Generator, failed: set[int]) -> int:
        """The number of a shape that has not failed yet."""
        while len(failed) < len(self.shape_views):
            number = int(torch.randint(len(self.shape_views), (1,), generator=generator))
            if number not in failed:
                return number
        raise InputError(
            f"no shape has two {self.stream} that overlap in more than {self.matching.min_overlap:.0%} of the "
            f"smaller foreground ({self.matching.tries} pairs tried of each of {len(self.shape_views)} shapes): "
            "raise views.count or lower training.matching.min_overlap"
        )

    def _one_by_one(self, item_generators: Sequence[torch.Generator]) -> PairBatch:
        rendered: list[ForegroundImages] = []
        matches: list[Matches] = []
        ids: list[str] = []
        views: list[tuple[int, int]] = []
        unmatched: list[str] = []
        for generator in item_generators:
            failed: set[int] = set()
            number = self._next_shape(generator, failed)
            while (pair := self._pair(self.shape_views[number], generator)) is None:
                failed.add(number)
                number = self._next_shape(generator, failed)
            unmatched += [self.shape_views[failed_shape].id for failed_shape in sorted(failed)]
            rendered.append(pair[0])
            matches.append(pair[1])
            views.append(pair[2])
            ids.append(self.shape_views[number].id)
        return PairBatch(
            _in_a_row(rendered),
            Matches.cat(matches),
            tuple(ids),
            tuple(views),
            tuple(dict.fromkeys(unmatched)),
            len(rendered) / len(self),
        )

    def _together(self, item_generators: Sequence[torch.Generator]) -> PairBatch:
        searches = [Search(generator, self._next_shape) for generator in item_generators]
        pairs = find_pairs(
            self.shape_views,
            self.matching,
            searches,
            lambda number: self._rejected.setdefault(self.shape_views[number].id, set()),
        )
        rendered = pairs.rendered(self.rendering, item_generators)
        matches = pairs.sample(self.points, item_generators, self.replace)
        ids = [shape.id for shape in pairs.shapes]
        failed = [self.shape_views[number].id for search in searches for number in sorted(search.failed)]
        return PairBatch(
            rendered, matches, tuple(ids), tuple(pairs.index), tuple(dict.fromkeys(failed)), len(ids) / len(self)
        )

    def _pair(
        self, shape: Shape, generator: torch.Generator
    ) -> tuple[ForegroundImages, Matches, tuple[int, int]] | None:
        """The images of both views ([2, L, C, H, W]), their matches and their numbers, or None if no pair overlaps enough."""
        index = range(self.shape_views.num_views(shape))
        seen: tuple[Views, Surface]  # of the pair tried last, which is the one chosen

        def surface(pair: list[int]) -> Surface:
            nonlocal seen
            views = self.shape_views.views(shape, pair)
            seen = views, surface_of(shape, views)
            return seen[1]

        rejected = self._rejected.setdefault(shape.id, set())
        pair_of_views = choose_pair(surface, index, self.matching, generator, rejected)
        if pair_of_views is None:
            return None
        a, b, matches = pair_of_views
        views, surface_of_pair = seen
        rendered = self.rendering.at_foreground([shape], [views], surface_of_pair, [generator])
        return rendered, sample_matches(matches, self.points, generator, self.replace), (a, b)


class UnlabelledPairSource(PairSource):
    """Pairs of views of shapes without labels: another random sequence than that of the labelled ones."""

    stream: ClassVar[str] = "views of unlabelled shapes"


def _in_a_row(pairs: Sequence[ForegroundImages]) -> ForegroundImages:
    """The images [2, L, ...] of each of P pairs as [2, P, L, ...]."""
    of_view = math.prod(pairs[0].size[1:])
    seen = [
        pair.seen + torch.where(pair.seen < of_view, number, number + len(pairs) - 1) * of_view
        for number, pair in enumerate(pairs)
    ]
    values = torch.cat([pair.values for pair in pairs])
    return ForegroundImages(values, torch.cat(seen), (2, len(pairs), *pairs[0].size[1:]))


@dataclass
class LabelledSource:
    """Samples batches of labelled views: a random shape, a random one of its labelled views (facts of the recipe)."""

    shape_views: ShapeViews
    rendering: Rendering
    views: Sequence[Sequence[int]]
    batch_size: int = 8
    shapes: Sequence[int] | None = None
    """Shapes to sample from, as indices of the shape_views; one listed twice is sampled twice as often. All once if None."""

    stream: ClassVar[str] = "labelled views"

    def __len__(self) -> int:
        """Items of a batch: views."""
        return self.batch_size

    def sample(self, seed: int, step: int, positions: Sequence[int] | None = None) -> LabelledBatch:
        """The batch of a step, sampled with replacement, or only some items of it."""
        shapes = range(len(self.shape_views)) if self.shapes is None else self.shapes
        sampled: list[tuple[Shape, Views, torch.Generator]] = []
        numbers: list[int] = []
        for generator in generators(self.stream, seed, step, range(len(self)) if positions is None else positions):
            number = shapes[int(torch.randint(len(shapes), (1,), generator=generator))]
            labelled = self.views[number]
            numbers.append(labelled[int(torch.randint(len(labelled), (1,), generator=generator))])
            shape = self.shape_views[number]
            sampled.append((shape, self.shape_views.views(shape, numbers[-1:]), generator))
        # a GPU is given all views at once; the CPU's cache holds one
        parts = [[triple] for triple in sampled] if self.shape_views.device.type == "cpu" else [sampled]
        rendered, labels = zip(*(self._render(part) for part in parts), strict=True)
        ids = tuple(shape.id for shape, _, _ in sampled)
        seeds = tuple(generator.initial_seed() for _, _, generator in sampled)
        return LabelledBatch(ForegroundImages.cat(rendered), torch.cat(labels), ids, tuple(numbers), seeds)

    def _render(self, sampled: Sequence[tuple[Shape, Views, torch.Generator]]) -> tuple[ForegroundImages, Tensor]:
        """Some views, each of a shape, and the labels of their foreground."""
        shapes, views, item_generators = (list(x) for x in zip(*sampled, strict=True))
        joined, joined_views = join(shapes, views)
        surface = surface_of(joined, joined_views)
        rendered = self.rendering.at_foreground(shapes, views, surface, item_generators)
        assert joined.face_labels is not None, "a labelled source has labelled shapes"
        faces = rows_of(joined_views.face_ids.reshape(-1), rendered.seen)
        return rendered, rows_of(joined.face_labels, faces)
