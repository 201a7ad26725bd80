"""One label for each polygon whose triangles were labelled one by one."""

from __future__ import annotations

import torch
from torch import Tensor


def agree_in_polygons(labels: Tensor, confidence: Tensor, areas: Tensor, polygons: Tensor) -> tuple[Tensor, Tensor]:
    """Give all triangles of a polygon the label with the most area x confidence among them.

    Triangles that are a polygon by themselves stay as they are.

    Args:
        labels: int64 [F], in [0, C).
        confidence: float32 [F], in [0, 1].
        areas: float32 [F]; a polygon without area counts its triangles alike.
        polygons: int64 [F], the polygon of each triangle.

    Returns:
        int64 [F], labels; float32 [F], confidence: area x confidence of that label over the polygon's area.
    """
    _, group, sizes = polygons.unique(return_inverse=True, return_counts=True)
    share = _share_of_polygon(areas, group, sizes)
    votes = torch.zeros(len(sizes), int(labels.max()) + 1, dtype=torch.float64)
    votes.index_put_((group, labels), share * confidence.double(), accumulate=True)
    best_votes, label = votes.max(dim=1)
    single = sizes[group] == 1
    return torch.where(single, labels, label[group]), torch.where(single, confidence, best_votes[group].float())


def mean_in_polygons(values: Tensor, areas: Tensor, polygons: Tensor) -> Tensor:
    """float32 [F]: for each triangle the mean of `values` (float [F]) over the area of its polygon.

    `areas` and `polygons` as of `agree_in_polygons`.
    """
    _, group, sizes = polygons.unique(return_inverse=True, return_counts=True)
    weighted = _share_of_polygon(areas, group, sizes) * values.double()
    return torch.zeros(len(sizes), dtype=torch.float64).index_add(0, group, weighted)[group].float()


def one_per_polygon(values: Tensor, polygons: Tensor | None) -> Tensor:
    """Values [F] that the triangles of a polygon share as [N], one for each polygon of the file in its order.

    `polygons` int64 [F], ascending; None: each triangle is one.
    """
    if polygons is None:
        return values
    return values[torch.cat([torch.ones(1, dtype=torch.bool), polygons[1:] != polygons[:-1]])]


def _share_of_polygon(areas: Tensor, group: Tensor, sizes: Tensor) -> Tensor:
    """float64 [F]: each triangle's share of the area of its polygon `group`, which has `sizes` triangles."""
    share = areas.double()
    total = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, group, share)[group]
    return torch.where(total > 0, share / total.clamp_min(1e-300), 1 / sizes[group].double())
