"""Views as network input, and the true labels of their pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.channels import channel_slice
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
        lights = None
        if generator is not None and self.random_light:
            lights = random_lights(views.cameras, generator)
        images = render_channels(shape, views, surface, self.channels, lights, self.depth, self.normal_frame)
        if generator is not None and self.colour_jitter > 0 and "rgb" in self.channels:
            rgb = channel_slice(self.channels, "rgb")
            images[:, :, rgb] = jitter_colours(images[:, :, rgb], surface.mask, self.colour_jitter, generator)
        return images


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


def labels_at_pixels(shape: Shape, views: Views) -> Tensor:
    """int64 [N, L, H, W], true labels of the pixels, -1 where background or undetermined."""
    assert shape.face_labels is not None, "labels_at_pixels needs a labelled shape"
    return face_values_at_pixels(shape.face_labels, views, background=-1)
