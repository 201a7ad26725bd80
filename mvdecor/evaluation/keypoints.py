"""PCK: the share of correct keypoints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class CorrectKeypoints:
    """PCK at one threshold.

    Attributes:
        mean: the mean over keypoints that are visible in some image; NaN if none is.
        per_keypoint: float64 [K], the share of correct ones among the images that show it; NaN where none does.
        pooled: the share among all visible keypoints of all images.
    """

    mean: float
    per_keypoint: Tensor
    pooled: float


def pck(predicted: Tensor, truth: Tensor, visible: Tensor, size: Tensor, threshold: float = 0.1) -> CorrectKeypoints:
    """Keypoints whose error is below `threshold` times the object's size (Kanazawa et al. 2018, as To The Point's code counts).

    Args:
        predicted, truth: float [N, K, 2], image positions.
        visible: bool [N, K]; others are not counted.
        size: float [N], the longer side of each object's box, in the positions' unit.
        threshold: 0.1 and 0.15 are usual.
    """
    assert predicted.shape == truth.shape == (*visible.shape, 2) and size.shape == visible.shape[:1], (
        "[N, K, 2], [N, K], [N]"
    )
    error = (predicted.double() - torch.where(visible[..., None], truth.double(), 0.0)).norm(dim=2)
    correct = visible & (error < threshold * size.double()[:, None])
    counts = visible.sum(dim=0).double()
    per_keypoint = correct.sum(dim=0) / counts  # NaN where no image shows it
    return CorrectKeypoints(
        float(per_keypoint[counts > 0].mean()), per_keypoint, float(correct.sum() / visible.sum().double())
    )
