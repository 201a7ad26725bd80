"""Volume rendering of features (Mildenhall et al. 2020, equation 3), over the same functions as the ray marcher."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from mvdecor.fields.srn import Function, Hits

TRANSPARENT = 1e-6
"""Opacity below which a ray is taken to hit nothing."""


class VolumeRenderer(nn.Module):
    """Mean feature and mean distance along each ray, weighted by what light would be stopped where.

    Args:
        features: D.
        samples: points per ray, one in each of as many equal intervals: random in training, else the middle.
    """

    def __init__(self, features: int, samples: int = 16) -> None:
        super().__init__()
        self.samples = samples
        self.density = nn.Linear(features, 1)

    def forward(self, function: Function, origins: Tensor, directions: Tensor, near: Tensor, far: Tensor) -> Hits:
        """Hits of rays [B, R, 3] between distances `near` and `far` [B, R]."""
        objects, rays = near.shape
        length = ((far - near) / self.samples)[..., None]
        offset = torch.rand(objects, rays, 1, device=near.device) if self.training else 0.5
        distances = near[..., None] + length * (torch.arange(self.samples, device=near.device) + offset)
        points = origins[:, :, None] + distances[..., None] * directions[:, :, None]
        features = function(points.flatten(1, 2)).unflatten(1, (rays, self.samples))
        weights = weights_of(softplus(self.density(features))[..., 0], length)
        opacity = weights.sum(dim=-1)
        shares = weights / opacity[..., None].clamp_min(TRANSPARENT)
        distance = torch.where(opacity > TRANSPARENT, (shares * distances).sum(dim=-1), far)
        mean = (shares[..., None, :] @ features)[..., 0, :]
        return Hits(origins + distance[..., None] * directions, distance, mean, opacity)


def weights_of(density: Tensor, length: Tensor | float) -> Tensor:
    """The share of a ray's light that each interval stops: (1 - exp(-density length)) times what the ones before let through.

    Args:
        density: float [..., S], at least 0.
        length: of the intervals, broadcast to `density`.
    """
    optical = density * length
    before = optical.cumsum(dim=-1) - optical
    return torch.exp(-before) * -torch.expm1(-optical)
