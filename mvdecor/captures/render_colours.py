"""Random looks of renders: colours of a template's vertices, backgrounds, blur."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from mvdecor.shapes.template import Template

EYE = 0.05
"""Brightness of an eye."""
FAINTEST_BLUR = 0.15
"""Pixels: a blur below this changes nothing."""
SCALES = ((3, 1.0), (6, 0.6), (14, 0.2))
"""Of the noise of backgrounds: cells along each side, and its greatest strength."""


class Colouring:
    """Random colours of a template's vertices: in patches, or by its part labels.

    Args:
        template: on the CPU; colours are symmetric if it is.
        patches: greatest number of patches.
        parts: share of the colourings by part, if the template has part labels.
    """

    def __init__(self, template: Template, patches: int, parts: float) -> None:
        self.patches, self.parts = patches, parts
        self.place = template.shape.vertices.clone()
        if template.mirror is not None:
            self.place[:, template.mirror.axis] = self.place[:, template.mirror.axis].abs()
        self.labels: Tensor | None = None
        if template.shape.face_labels is not None:
            corners, of_faces = (
                template.shape.faces.flatten(),
                template.shape.face_labels.clamp_min(0).repeat_interleave(3),
            )
            self.labels = torch.zeros(len(self.place), dtype=torch.int64).scatter_reduce(0, corners, of_faces, "amax")
        self.eyes = [vertex for name, vertex in template.keypoints.items() if "eye" in name.lower()]

    def __call__(self, generator: torch.Generator) -> Tensor:
        """float32 [V, 3] in [0, 1], with soft stripes and spots."""
        base = torch.rand(3, generator=generator)
        spread = torch.rand(1, generator=generator)
        by_part = self.labels is not None and float(torch.rand(1, generator=generator)) < self.parts
        region = self._parts(generator) if by_part else self._patches(generator)
        palette = base + spread * (torch.rand(int(region.max()) + 1, 3, generator=generator) - 0.5) * 2
        waves = 6 * torch.randn(3, 3, generator=generator), 6 * torch.rand(3, generator=generator)
        stripes = 0.12 * torch.rand(1, generator=generator) * (self.place @ waves[0] + waves[1]).sin()
        colours = (palette[region] + stripes).clamp(0.02, 1)
        if by_part:
            colours[self.eyes] = EYE
        return colours

    def _patches(self, generator: torch.Generator) -> Tensor:
        """int64 [V], the nearest of some random vertices."""
        count = int(torch.randint(1, self.patches + 1, (1,), generator=generator))
        seeds = self.place[torch.randint(len(self.place), (count,), generator=generator)]
        return torch.cdist(self.place, seeds).argmin(dim=1)

    def _parts(self, generator: torch.Generator) -> Tensor:
        """int64 [V], the part, and which side of a random height of its own it lies on (y is up)."""
        assert self.labels is not None, "asked for only where there are labels"
        height = self.place[torch.randint(len(self.place), (int(self.labels.max()) + 1,), generator=generator), 1]
        return 2 * self.labels + (self.place[:, 1] > height[self.labels])


def random_backgrounds(size: int, lines: int, generators: Sequence[torch.Generator]) -> Tensor:
    """float32 [B, 3, size, size] in [0, 1], smooth noise of a few scales about a colour, and at most so many lines over it."""
    drawn = [_draw_background(lines, generator) for generator in generators]
    colours, noises, strengths, all_lines = zip(*drawn, strict=True)
    images = torch.stack(colours).expand(-1, 3, size, size).clone()
    for level in range(len(SCALES)):
        noise = torch.cat([of_image[level] for of_image in noises]) - 0.5
        strength = torch.stack([of_image[level] for of_image in strengths])[..., None, None]
        images += strength * interpolate(noise, (size, size), mode="bicubic", align_corners=False)
    place = torch.linspace(-1, 1, size)
    for image, of_image in zip(images, all_lines, strict=True):
        for angle, offset, width, *colour in of_image:
            across = place * math.sin(math.pi * angle) + place[:, None] * math.cos(math.pi * angle)
            image[:, (across - 2 * offset + 1).abs() < 0.02 + 0.06 * width] = torch.tensor(colour)[:, None]
    return images.clamp(0, 1)


def _draw_background(
    lines: int, generator: torch.Generator
) -> tuple[Tensor, list[Tensor], list[Tensor], list[list[float]]]:
    """A colour [3, 1, 1]; noise [1, 3, C, C] of each scale, and its strength [1]; for each line six numbers in [0, 1]."""
    colour = torch.rand(3, 1, 1, generator=generator)
    noises, strengths = [], []
    for cells, greatest in SCALES:
        noises.append(torch.rand(1, 3, cells, cells, generator=generator))
        strengths.append(greatest * torch.rand(1, generator=generator))
    count = int(torch.randint(0, lines + 1, (1,), generator=generator))
    return colour, noises, strengths, [torch.rand(6, generator=generator).tolist() for _ in range(count)]


def blurred(images: Tensor, deviations: Tensor) -> Tensor:
    """images [B, C, H, W] after Gaussian blurs of standard deviations [B] in pixels; borders go on beyond themselves."""
    greatest = float(deviations.max())
    if greatest < FAINTEST_BLUR:
        return images
    radius = math.ceil(2.5 * greatest)
    offsets = torch.arange(-radius, radius + 1).to(images)
    sharp = deviations < FAINTEST_BLUR
    spread = torch.where(sharp, 1.0, deviations)[:, None]
    reach = torch.where(sharp[:, None], 0.0, (2.5 * spread).ceil())
    kernels = torch.where(offsets.abs() <= reach, (-(offsets**2) / (2 * spread**2)).exp(), 0.0)
    kernels = (kernels / kernels.sum(dim=1, keepdim=True)).repeat_interleave(images.shape[1], dim=0)
    padded = pad(images, (radius,) * 4, mode="replicate").flatten(0, 1)[None]
    down = conv2d(padded, kernels[:, None, :, None], groups=len(kernels))
    return conv2d(down, kernels[:, None, None, :], groups=len(kernels)).view_as(images)
