"""Overlap of masks."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_iou(predicted: Tensor, truth: Tensor) -> Tensor:
    """Intersection over union of each image; the usual figure is the mean over images. 1 where both masks are empty.

    Args:
        predicted, truth: bool [N, H, W].

    Returns:
        float64 [N], in [0, 1].
    """
    assert predicted.dtype == truth.dtype == torch.bool and predicted.shape == truth.shape, (
        "masks must be bool [N, H, W]"
    )
    intersection = (predicted & truth).flatten(1).sum(dim=1).double()
    union = (predicted | truth).flatten(1).sum(dim=1).double()
    return torch.where(union > 0, intersection / union.clamp_min(1), 1.0)
