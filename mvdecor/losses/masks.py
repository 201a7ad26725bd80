"""Losses of a mask: how a silhouette covers it, how image positions of vertices lie in it. One value per sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

LEAST_WEIGHT = 1e-6
"""Of all vertices of a sample together; fewer count as nothing."""


def mask_loss(silhouette: Tensor, masks: Tensor) -> Tensor:
    """Mean squared difference plus 1 - IoU of a soft silhouette and a mask.

    Args:
        silhouette: float [B, H, W] in [0, 1].
        masks: float [B, H, W] in [0, 1], not empty.

    Returns:
        float [B].
    """
    both, either = silhouette * masks, silhouette + masks - silhouette * masks
    iou = both.sum(dim=(1, 2)) / either.sum(dim=(1, 2)).clamp_min(LEAST_WEIGHT)
    return (silhouette - masks).square().mean(dim=(1, 2)) + 1 - iou


def coverage_loss(points: Tensor, positions: Tensor) -> Tensor:
    """Mean squared distance from points of the mask to the nearest vertex (the released code's boundary loss).

    Args:
        points: float [B, P, 2], in the mask.
        positions: float [B, V, 2], image positions of vertices.

    Returns:
        float [B].
    """
    with torch.no_grad():
        nearest = torch.cdist(points, positions).argmin(dim=2)
    closest = positions.gather(1, nearest[..., None].expand(-1, -1, 2))
    return (points - closest).square().sum(dim=2).mean(dim=1)


def outside_loss(positions: Tensor, distances: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean distance of vertices from the mask; 0 inside (the released code's distance transform loss).

    Args:
        positions: float [B, V, 2], image positions in [-1, 1].
        distances: float [B, H, W], of each pixel's centre from the mask; sampled bilinearly, outside as at the border.
        weights: float [B, V], at least 0.

    Returns:
        float [B].
    """
    sampled = grid_sample(distances[:, None], positions[:, None], padding_mode="border", align_corners=False)[:, 0, 0]
    return weighted_mean(sampled, weights)


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """float [B], the mean over the columns of [B, N]; 0 where all weights are 0."""
    return (values * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(LEAST_WEIGHT)
