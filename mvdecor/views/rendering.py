"""Views as network input, and the true labels of their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.channels import channel_slice, find_channel
from mvdecor.shapes.shape import Shape
from mvdecor.views.channels import random_lights, render_channels
from mvdecor.views.views import Surface, Views, face_values_at_pixels


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
        lights = None
        if generators and self.random_light:
            lights = random_lights(surface.cameras, *generators)
        images = self._render(shapes, views, surface, lights)
        if generators and self.colour_jitter > 0 and "rgb" in self.channels:
            rgb = channel_slice(self.channels, "rgb")
            images[:, :, rgb] = jitter_colours(images[:, :, rgb], surface.mask, self.colour_jitter, *generators)
        return images

    def _render(
        self, shapes: Sequence[Shape], views: Sequence[Views], surface: Surface, lights: Tensor | None
    ) -> Tensor:
        textured = "rgb" in self.channels and any(shape.texture is not None for shape in shapes)
        from_outside = any(find_channel(name).render is not None for name in self.channels)
        settings = (self.depth, self.normal_frame)
        if len(shapes) == 1 or not (textured or from_outside):  # the surface says it all
            return render_channels(shapes[0], views[0], surface, self.channels, lights, *settings)
        images, start = [], 0
        for shape, shape_views in zip(shapes, views, strict=True):
            part = slice(start, start + len(shape_views))
            light = None if lights is None else lights[part]
            images.append(render_channels(shape, shape_views, surface[part], self.channels, light, *settings))
            start += len(shape_views)
        return torch.cat(images)


def jitter_colours(rgb: Tensor, mask: Tensor, strength: float, *generators: torch.Generator) -> Tensor:
    """Random brightness, contrast and tint for each view, the background left as it is.

    Args:
        rgb: float32 [N, L, 3, H, W] in [0, 1].
        mask: bool [N, L, H, W], foreground.
        strength: 0.4 changes brightness and contrast by up to 40 % and each colour by up to 20 %.
        generators: of the CPU, each for equally many of the views, in order.
    """
    per_generator = len(rgb) // len(generators)
    random = torch.cat([torch.rand(per_generator, 5, generator=generator) for generator in generators])
    factors = (1 + strength * (2 * random - 1)).to(rgb.device, non_blocking=True)
    brightness, contrast = factors[:, 0, None, None, None, None], factors[:, 1, None, None, None, None]
    tint = (1 + (factors[:, 2:] - 1) / 2)[:, None, :, None, None]
    jittered = (((rgb - 0.5) * contrast + 0.5) * brightness * tint).clamp(0, 1)
    return torch.where(mask[:, :, None], jittered, rgb)


def labels_at_pixels(shape: Shape, views: Views) -> Tensor:
    """int64 [N, L, H, W], true labels of the pixels, -1 where background or undetermined."""
    assert shape.face_labels is not None, "labels_at_pixels needs a labelled shape"
    return face_values_at_pixels(shape.face_labels, views, background=-1)
