"""Affine copies of images, mirrored or not, for losses of equivariance."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

ROTATION, SCALES, SHIFT = 40.0, (0.7, 1.2), 0.15
"""Of the released code: degrees either way, range of scales, share of the image's side either way (here of half of it)."""


def random_matrices(count: int, mirror: bool, generator: torch.Generator) -> Tensor:
    """float32 [count, 2, 3], random similarities of the plane of an image, x and y in [-1, 1].

    Args:
        count: how many.
        mirror: half of them also mirror x.
        generator: of the CPU.
    """
    random = torch.rand(count, 5, generator=generator)
    angle = math.radians(ROTATION) * (2 * random[:, 0] - 1)
    scale = SCALES[0] + (SCALES[1] - SCALES[0]) * random[:, 1]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    sign = torch.where((random[:, 2] < 0.5) & mirror, -1.0, 1.0)
    shift = 2 * SHIFT * (2 * random[:, 3:] - 1)
    rows = torch.stack([cosine * sign, -sine, shift[:, 0], sine * sign, cosine, shift[:, 1]], dim=1)
    return rows.view(count, 2, 3)


def warp_images(images: Tensor, matrix: Tensor) -> Tensor:
    """Images [B, C, H, W] moved by matrices [B, 2, 3]: what was at u is at A u + b; the border goes on beyond itself."""
    inverse = torch.linalg.inv(matrix[:, :, :2])
    back = torch.cat([inverse, -inverse @ matrix[:, :, 2:]], dim=2)
    grid = affine_grid(back, list(images.shape), align_corners=False)
    return grid_sample(images, grid, padding_mode="border", align_corners=False)
