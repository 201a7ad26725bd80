"""From a labelled point cloud to the faces of a mesh."""

from __future__ import annotations

import torch
from scipy.spatial import cKDTree
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape


def labels_from_points(shape: Shape, points: Tensor, labels: Tensor, num_labels: int, neighbours: int = 9) -> Tensor:
    """The most frequent label among the points nearest to each face's centre; of equally frequent ones the lowest.

    Args:
        shape: the mesh.
        points: float32 [P, 3], in the mesh's frame.
        labels: int64 [P], in [0, num_labels).
        num_labels: C.
        neighbours: number of points per face.

    Returns:
        int64 [F].

    Raises:
        InputError: there is no point.
    """
    if len(points) == 0:
        raise InputError(f"shape {shape.id}: the point cloud is empty, so its faces cannot be labelled")
    count = min(neighbours, len(points))
    _, nearest = cKDTree(points.cpu().numpy()).query(shape.face_centers.cpu().numpy(), k=[*range(1, count + 1)])
    votes = labels.cpu()[torch.from_numpy(nearest)]
    return torch.nn.functional.one_hot(votes, num_labels).sum(dim=1).argmax(dim=-1)
