"""Views as network input, and the true labels of their pixels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from mvdecor.channels import channel_slice
from mvdecor.rows import rows_of
from mvdecor.shapes.shape import Shape
from mvdecor.views.channels import foreground_channels, random_lights
from mvdecor.views.views import Surface, Views, face_values_at_pixels, spread, where


@dataclass(frozen=True)
class Rendering:
    """How views become network input (the `views` config's channel part).

    Attributes:
        channels: names of the channels, see `mvdecor.channels`.
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
        self, shape: Shape, views: Views, surface: Surface, generator: torch.Generator | None = None
    ) -> Tensor:
        """float32 [N, L, C, H, W], network input of N views of a shape; random parts only with a generator."""
        generators = [] if generator is None else [generator]
        return self.all([shape], [views], surface, generators)

    def all(
        self, shapes: Sequence[Shape], views: Sequence[Views], surface: Surface, generators: Sequence[torch.Generator]
    ) -> Tensor:
        """float32 [N, L, C, H, W], network input of views of several shapes, as by one call for each shape.

        Args:
            shapes: S shapes.
            views: of each, equally many, N together.
            surface: of all of them, in order.
            generators: of each shape; none: without random parts.
        """
        return self.at_foreground(shapes, views, surface, generators).images

    def at_foreground(
        self, shapes: Sequence[Shape], views: Sequence[Views], surface: Surface, generators: Sequence[torch.Generator]
    ) -> ForegroundImages:
        """What `all` gives, at the foreground alone."""
        lights = None
        if generators and self.random_light:
            lights = random_lights(surface.cameras, *generators)
        settings = (self.channels, lights, self.depth, self.normal_frame)
        values = foreground_channels(shapes, views, surface, *settings)
        if generators and self.colour_jitter > 0 and "rgb" in self.channels:
            rgb, view = channel_slice(self.channels, "rgb"), surface.foreground.view
            factors = rows_of(_jitter_factors(len(surface), self.colour_jitter, generators, values.device), view)
            values[:, rgb] = _jittered(values[:, rgb], factors[:, :1], factors[:, 1:2], factors[:, 2:])
        return ForegroundImages(values, surface.foreground.seen, tuple(surface.mask.shape))


@dataclass(frozen=True)
class ForegroundImages:
    """Images that are 0 but at Q pixels: all that a worker hands over of them.

    Attributes:
        values: [Q, C].
        seen: int64 [Q], the pixels, as indices into `size` flattened.
        size: (..., H, W).
    """

    values: Tensor
    seen: Tensor
    size: tuple[int, ...]

    @classmethod
    def of(cls, images: Tensor) -> ForegroundImages:
        """Of images [..., C, H, W]."""
        rows = images.movedim(-3, -1)
        seen = where((rows != 0).any(dim=-1).reshape(-1))
        return cls(rows_of(rows.reshape(-1, rows.shape[-1]), seen), seen, tuple(rows.shape[:-1]))

    @classmethod
    def cat(cls, parts: Sequence[ForegroundImages]) -> ForegroundImages:
        """Those of all parts in a row, along the first axis of their sizes."""
        first = accumulate([0, *(math.prod(part.size) for part in parts)])
        seen = torch.cat([part.seen + start for part, start in zip(parts, first, strict=False)])
        values = torch.cat([part.values for part in parts])
        return cls(values, seen, (sum(part.size[0] for part in parts), *parts[0].size[1:]))

    @property
    def images(self) -> Tensor:
        """[..., C, H, W], in memory with the channels last, as convolutions are fastest."""
        return spread(self.values, self.seen, self.size).movedim(-1, -3)

    def to(self, device: torch.device, non_blocking: bool = False) -> ForegroundImages:
        """On a device."""
        values, seen = (x.to(device, non_blocking=non_blocking) for x in (self.values, self.seen))
        return ForegroundImages(values, seen, self.size)

    def pin_memory(self) -> ForegroundImages:
        """In memory that a GPU reads without the processor."""
        return ForegroundImages(self.values.pin_memory(), self.seen.pin_memory(), self.size)


def jitter_colours(rgb: Tensor, mask: Tensor, strength: float, *generators: torch.Generator) -> Tensor:
    """Random brightness, contrast and tint for each view, the background left as it is.

    Args:
        rgb: float32 [N, L, 3, H, W] in [0, 1].
        mask: bool [N, L, H, W], foreground.
        strength: 0.4 changes brightness and contrast by up to 40 % and each colour by up to 20 %.
        generators: of the CPU, each for equally many of the views, in order.
    """
    factors = _jitter_factors(len(rgb), strength, generators, rgb.device)[:, None, :, None, None]
    return torch.where(mask[:, :, None], _jittered(rgb, factors[:, :, :1], factors[:, :, 1:2], factors[:, :, 2:]), rgb)


def _jitter_factors(views: int, strength: float, generators: Sequence[torch.Generator], device: torch.device) -> Tensor:
    """float32 [N, 5] for each view: brightness, contrast, and the tint of each colour."""
    per_generator = views // len(generators)
    random = torch.cat([torch.rand(per_generator, 5, generator=generator) for generator in generators])
    factors = 1 + strength * (2 * random - 1)
    factors[:, 2:] = 1 + (factors[:, 2:] - 1) / 2
    return factors.to(device, non_blocking=True)


def _jittered(rgb: Tensor, brightness: Tensor, contrast: Tensor, tint: Tensor) -> Tensor:
    return (((rgb - 0.5) * contrast + 0.5) * brightness * tint).clamp(0, 1)


def labels_at_pixels(shape: Shape, views: Views) -> Tensor:
    """int64 [N, L, H, W], true labels of the pixels, -1 where background or undetermined."""
    assert shape.face_labels is not None, "labels_at_pixels needs a labelled shape"
    return face_values_at_pixels(shape.face_labels, views, background=-1)
