"""Scores of pixels of many views, gathered at points of the scene that the views see. Nothing is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.views.cameras import Cameras


def gather_scores(
    points: Tensor, cameras: Cameras, depth: Tensor, scores: Tensor, tolerance: float
) -> tuple[Tensor, Tensor]:
    """Mean scores over the views that see a point.

    A view sees a point that lies in its picture, ahead of it, and not behind the depth of that pixel by more than `tolerance`
    nor before it.

    Args:
        points: float32 [P, 3], world frame.
        cameras: n cameras.
        depth: float32 [n, H, W], camera z.
        scores: float [n, C, H, W].
        tolerance: share of the point's camera z by which the depths may differ.

    Returns:
        float32 [P, C], where no view sees the point the mean over the views that have it in their picture, or 0; and int64 [P],
        the number of views that see it.
    """
    count, height, width = depth.shape
    sums, every = (torch.zeros(len(points), scores.shape[1]) for _ in range(2))
    seen_by, within = torch.zeros(len(points), dtype=torch.int64), torch.zeros(len(points), dtype=torch.int64)
    for view in range(count):
        positions, z = (values[0] for values in cameras[[view]].project(points[None]))
        x, y = positions.floor().unbind(dim=-1)
        inside = ((z > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)).nonzero()[:, 0]
        row, column = y[inside].long(), x[inside].long()
        values = scores[view][:, row, column].T.float()
        every[inside] += values
        within[inside] += 1
        agrees = (depth[view, row, column] - z[inside]).abs() <= tolerance * z[inside]
        sums[inside[agrees]] += values[agrees]
        seen_by[inside[agrees]] += 1
    unseen = seen_by == 0
    total, number = torch.where(unseen[:, None], every, sums), torch.where(unseen, within, seen_by)
    return total / number.clamp_min(1)[:, None], seen_by
