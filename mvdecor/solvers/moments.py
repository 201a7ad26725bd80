"""Weighted moments of correspondences: all that the reprojection cost depends on, however many points there are."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Moments:
    """Moments of B sets of correspondences between image positions and the vertices of a deformable template.

    The shape of a sample is T + sum_k c_k B_k. With J = K + 1 and the stack X_i = (T_i, B_1i, ..., B_Ki) of 3 J numbers per
    vertex, and weights that sum to 1, all about the weighted means:

    Attributes:
        shape: float64 [B, J, 3, J, 3], sum_i w_i X_i X_i^T.
        mixed: float64 [B, 2, J, 3], sum_i w_i u_i X_i^T.
        image: float64 [B], sum_i w_i |u_i|^2.
        shape_mean: float64 [B, J, 3].
        image_mean: float64 [B, 2].
    """

    shape: Tensor
    mixed: Tensor
    image: Tensor
    shape_mean: Tensor
    image_mean: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def detach(self) -> Moments:
        """The same values without their gradients."""
        return Moments(
            self.shape.detach(),
            self.mixed.detach(),
            self.image.detach(),
            self.shape_mean.detach(),
            self.image_mean.detach(),
        )

    def at(self, index: Tensor) -> Moments:
        """Those of some samples."""
        return Moments(
            self.shape[index], self.mixed[index], self.image[index], self.shape_mean[index], self.image_mean[index]
        )

    def template_only(self) -> Moments:
        """Those of the template without its basis (K = 0)."""
        return Moments(
            self.shape[:, :1, :, :1], self.mixed[:, :, :1], self.image, self.shape_mean[:, :1], self.image_mean
        )


def moments_of(positions: Tensor, weights: Tensor, template: Tensor, basis: Tensor | None = None) -> Moments:
    """The moments of B sets of N correspondences; differentiable in all four.

    Args:
        positions: float [B, N, 2], image positions.
        weights: float [B, N], at least 0, of any sum above 0; divided by their sum here.
        template: float [N, 3], or [B, N, 3] for shapes that differ.
        basis: float [K, N, 3], deformation vectors; None: K = 0.
    """
    wide = torch.float64
    weights = weights.to(wide)
    weights = weights / weights.sum(dim=1, keepdim=True)
    positions = positions.to(wide)
    weighted = weights[..., None] * positions
    image_mean = weighted.sum(dim=1)
    image = (weighted * positions).sum(dim=(1, 2)) - image_mean.square().sum(dim=1)
    template = template.to(wide)
    if template.ndim == 3:
        assert basis is None, "shapes that differ have no basis"
        shape_mean = torch.einsum("bn,bni->bi", weights, template)
        points = template - shape_mean[:, None]
        shape = (weights[..., None] * points).transpose(1, 2) @ points
        mixed = weighted.transpose(1, 2) @ points  # the points are about their mean, so the positions need not be
        return Moments(shape[:, None, :, None], mixed[:, :, None], image, shape_mean[:, None], image_mean)
    stack = template[:, None] if basis is None else torch.cat([template[None], basis.to(wide)]).transpose(0, 1)
    n, j = stack.shape[:2]
    offset = stack.detach().mean(dim=0)  # a shape far from the origin would lose digits below
    flat = (stack - offset).reshape(n, 3 * j)
    mean = weights @ flat
    products = (flat[:, :, None] * flat[:, None]).reshape(n, -1)
    shape = (weights @ products).view(-1, 3 * j, 3 * j) - mean[:, :, None] * mean[:, None]
    mixed = torch.einsum("bni,nd->bid", weighted, flat) - image_mean[:, :, None] * mean[:, None]
    return Moments(shape.view(-1, j, 3, j, 3), mixed.view(-1, 2, j, 3), image, mean.view(-1, j, 3) + offset, image_mean)
