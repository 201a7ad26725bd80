"""Losses of image positions and visibilities of vertices: against the truth, keypoints, and moved copies of the image.

One value per sample. Positions are in [-1, 1], x right, y down.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from mvdecor.losses.masks import weighted_mean

NEAR = 0.1
"""Distance from which `position_loss` grows linearly."""


def position_loss(positions: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """float [B], weighted mean of the Huber distance between positions [B, V, 2] and the truth [B, V, 2]."""
    return weighted_mean(smooth_l1_loss(positions, truth, reduction="none", beta=NEAR).sum(dim=2), weights)


def visibility_loss(logits: Tensor, visible: Tensor) -> Tensor:
    """float [B], mean binary cross-entropy of visibilities [B, V] against truth or rasterized mesh (bool [B, V])."""
    return binary_cross_entropy_with_logits(logits, visible.to(logits), reduction="none").mean(dim=1)


def keypoint_loss(positions: Tensor, keypoints: Tensor) -> Tensor:
    """Mean Huber distance between positions of the keypoints' vertices and the keypoints that are visible.

    Args:
        positions: float [B, K, 2].
        keypoints: float [B, K, 3]: x, y, and 1 where visible, 0 elsewhere (whose x and y may be anything finite).

    Returns:
        float [B]; 0 without a visible keypoint.
    """
    return position_loss(positions, keypoints[..., :2], keypoints[..., 2])


def equivariance_loss(
    copies: Tensor, positions: Tensor, matrix: Tensor, mirror: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Whether positions in a moved copy of an image are the moved positions; of those that stay inside the copy.

    Args:
        copies: float [B, V, 2], positions in the moved copy.
        positions: float [B, V, 2], positions in the image.
        matrix: float [B, 2, 3], the affine map from the image to the copy, see `move_positions`. Where its determinant is
            negative, the copy is a mirror image.
        mirror: where each vertex lies in the mirror image: int64 [V, 3], vertices, and float [V, 3], their weights; needed
            where a copy is a mirror image.

    Returns:
        float [B], the mean of the Huber distance.
    """
    expected = move_positions(positions, matrix)
    flipped = torch.linalg.det(matrix[:, :, :2]) < 0
    if mirror is None:
        assert not bool(flipped.any()), "a mirror image needs the template's mirror map"
    else:
        vertices, weights = mirror
        mirrored = (weights[..., None] * expected[:, vertices]).sum(dim=2)
        expected = torch.where(flipped[:, None, None], mirrored, expected)
    inside = (expected.abs() <= 1).all(dim=2).to(copies)
    return position_loss(copies, expected, inside)


def move_positions(positions: Tensor, matrix: Tensor) -> Tensor:
    """[B, V, 2], A u + b of positions [B, V, 2] by matrices (A | b) [B, 2, 3]."""
    return positions @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
