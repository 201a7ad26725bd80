"""Drawing the batches of both loops: pairs of views with matches, and labelled views."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from mvdecor.correspondences import Matches, choose_pair, sample_matches
from mvdecor.errors import InputError
from mvdecor.training.scenes import Scenes
from mvdecor.views import Surface, Views, face_values_at_pixels, random_lights, render_channels


@dataclass(frozen=True)
class Rendering:
    """How views become network input (the `views` config's channel part).

    Attributes:
        channels: names of the channels, see `mvdecor.views.CHANNELS`.
        depth: "minmax" or "metric".
        normal_frame: "camera" or "world".
        random_light: light untextured shapes from a random direction near the camera (training) instead of the camera's.
        colour_jitter: strength of the random change of brightness, contrast and tint of the rgb channel; 0 for none.
    """

    channels: tuple[str, ...]
    depth: str = "minmax"
    normal_frame: str = "camera"
    random_light: bool = False
    colour_jitter: float = 0.0

    def __call__(
        self, scenes: Scenes, shape: int, views: Views, surface: Surface, generator: torch.Generator | None = None
    ) -> Tensor:
        """float32 [N, L, C, H, W], network input of N views of a shape; random parts only with a generator."""
        lights = None
        if generator is not None and self.random_light:
            lights = random_lights(views.cameras, generator)
        images = render_channels(
            scenes.shapes[shape], views, surface, self.channels, lights, self.depth, self.normal_frame
        )
        if generator is not None and self.colour_jitter > 0 and "rgb" in self.channels:
            start = rgb_start(self.channels)
            rgb = images[:, :, start : start + 3]
            images[:, :, start : start + 3] = jitter_colours(rgb, surface.mask, self.colour_jitter, generator)
        return images


def rgb_start(channels: Sequence[str]) -> int:
    """Index of the red channel in the network input."""
    from mvdecor.views import CHANNELS

    names = list(channels)
    return sum(CHANNELS[name] for name in names[: names.index("rgb")])


def jitter_colours(rgb: Tensor, mask: Tensor, strength: float, generator: torch.Generator) -> Tensor:
    """Random brightness, contrast and tint for each view, the background left as it is.

    Args:
        rgb: float32 [N, L, 3, H, W] in [0, 1].
        mask: bool [N, L, H, W], foreground.
        strength: 0.4 changes brightness and contrast by up to 40 % and each colour by up to 20 %.
        generator: CPU generator.
    """
    n = len(rgb)
    factors = (1 + strength * (2 * torch.rand(n, 5, generator=generator) - 1)).to(rgb.device)
    brightness, contrast = factors[:, 0, None, None, None, None], factors[:, 1, None, None, None, None]
    tint = (1 + (factors[:, 2:] - 1) / 2)[:, None, :, None, None]
    jittered = (((rgb - 0.5) * contrast + 0.5) * brightness * tint).clamp(0, 1)
    return torch.where(mask[:, :, None], jittered, rgb)


@dataclass(frozen=True)
class PairBatch:
    """P pairs of views of L layers with their matches.

    Attributes:
        images: float32 [2, P, L, C, H, W], views A then views B.
        matches: the matches drawn, at most K a pair.
        shape_ids: the shape of each pair.
        views: numbers of its two views.
    """

    images: Tensor
    matches: Matches
    shape_ids: tuple[str, ...]
    views: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class LabelledBatch:
    """B labelled views of L layers.

    Attributes:
        images: float32 [B, L, C, H, W].
        labels: int64 [B, L, H, W], -1 where background or undetermined.
        shape_ids: the shape of each view.
        views: its number.
    """

    images: Tensor
    labels: Tensor
    shape_ids: tuple[str, ...]
    views: tuple[int, ...]


@dataclass
class PairSource:
    """Draws batches of overlapping pairs of views from scenes (paper section 3.1).

    A shape of which no pair out of `tries` overlaps enough is reported, and not drawn from again.
    """

    scenes: Scenes
    rendering: Rendering
    pairs: int = 8
    points: int = 4000
    min_overlap: float = 0.15
    tolerance: float = 5e-3
    min_cosine: float = 0.5
    tries: int = 50
    unique: bool = True
    """See `match_views`."""
    replace: bool = False
    """Draw the points with replacement, see `sample_matches`."""

    what: ClassVar[str] = "views"
    """What the two of a pair are, for messages."""

    def __post_init__(self) -> None:
        self.unmatchable: set[int] = set()
        self._rejected: dict[int, set[frozenset[int]]] = {}

    def draw(self, generator: torch.Generator) -> PairBatch:
        """A batch of pairs, shapes drawn uniformly with replacement.

        Raises:
            InputError: if no shape is left that has overlapping views.
        """
        images: list[Tensor] = []
        matches: list[Matches] = []
        ids: list[str] = []
        views: list[tuple[int, int]] = []
        while len(ids) < self.pairs:
            if len(self.unmatchable) == len(self.scenes):
                raise InputError(
                    f"no shape has two {self.what} that overlap in more than {self.min_overlap:.0%} of the smaller foreground "
                    f"({self.tries} pairs tried of each of {len(self.scenes)} shapes): raise views.count or lower "
                    "training.matching.min_overlap"
                )
            shape = int(torch.randint(len(self.scenes), (1,), generator=generator))
            if shape in self.unmatchable:
                continue
            state = generator.get_state()
            pair = self._pair(shape, generator)
            if pair is None:
                self.unmatchable.add(shape)
                generator.set_state(state)  # what is drawn does not depend on when a shape was found unmatchable
                name = self.scenes.shapes[shape].id
                print(
                    f"warning: shape {name}: none of {self.tries} pairs of {self.what} overlaps enough; it is left out"
                )
                continue
            images.append(pair[0])
            matches.append(pair[1])
            views.append(pair[2])
            ids.append(self.scenes.shapes[shape].id)
        return PairBatch(torch.stack(images, dim=1), Matches.cat(matches), tuple(ids), tuple(views))

    def state_dict(self) -> dict:
        """Which shapes and pairs were found to be no use, see `Snapshots`."""
        rejected = {shape: [sorted(pair) for pair in pairs] for shape, pairs in self._rejected.items()}
        return {"unmatchable": sorted(self.unmatchable), "rejected": rejected}

    def load_state_dict(self, state: dict) -> None:
        """Take what `state_dict` gave."""
        self.unmatchable = set(state["unmatchable"])
        self._rejected = {shape: {frozenset(p) for p in pairs} for shape, pairs in state["rejected"].items()}

    def _pair(self, shape: int, generator: torch.Generator) -> tuple[Tensor, Matches, tuple[int, int]] | None:
        views = range(self.scenes.num_views(shape))
        seen: list[Surface] = []  # of the pairs tried; the last is the one chosen

        def surface(index: list[int]) -> Surface:
            seen.append(self.scenes.surface(shape, index))
            return seen[-1]

        rejected = self._rejected.setdefault(shape, set())
        found = choose_pair(
            surface,
            views,
            self.min_overlap,
            self.tries,
            generator,
            self.tolerance,
            self.min_cosine,
            rejected,
            self.unique,
        )
        if found is None:
            return None
        a, b, matches = found
        images = self.rendering(self.scenes, shape, self.scenes.views(shape, [a, b]), seen[-1], generator)
        return images, sample_matches(matches, self.points, generator, self.replace), (a, b)


@dataclass
class LabelledSource:
    """Draws batches of labelled views: a random shape, a random one of its labelled views (facts of the recipe)."""

    scenes: Scenes
    rendering: Rendering
    views: Sequence[Sequence[int]]
    batch_size: int = 8
    shapes: Sequence[int] | None = None
    """Shapes to draw from, as indices of the scenes; one listed twice is drawn twice as often. All once if None."""

    def draw(self, generator: torch.Generator) -> LabelledBatch:
        """A batch of labelled views, drawn with replacement."""
        images, labels, ids, numbers = [], [], [], []
        shapes = range(len(self.scenes)) if self.shapes is None else self.shapes
        for _ in range(self.batch_size):
            shape = shapes[int(torch.randint(len(shapes), (1,), generator=generator))]
            view = self.views[shape][int(torch.randint(len(self.views[shape]), (1,), generator=generator))]
            views = self.scenes.views(shape, [view])
            surface = self.scenes.surface(shape, [view])
            images.append(self.rendering(self.scenes, shape, views, surface, generator))
            labels.append(labels_at_pixels(self.scenes, shape, views))
            ids.append(self.scenes.shapes[shape].id)
            numbers.append(view)
        return LabelledBatch(torch.cat(images), torch.cat(labels), tuple(ids), tuple(numbers))


def labels_at_pixels(scenes: Scenes, shape: int, views: Views) -> Tensor:
    """int64 [N, L, H, W], true labels of the pixels, -1 where background or undetermined."""
    labels = scenes.shapes[shape].face_labels
    assert labels is not None, "labels_at_pixels needs a labelled shape"
    return face_values_at_pixels(labels, views, background=-1)
