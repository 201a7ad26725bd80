"""Which vertices of a mesh views see, and where in which face each pixel looks."""

from __future__ import annotations

import torch
from torch import Tensor


def visible_vertices(face_ids: Tensor, faces: Tensor, count: int) -> Tensor:
    """bool [N, count]: whether a pixel of the view sees a face of the vertex.

    Args:
        face_ids: int [N, H, W], -1 = background.
        faces: int64 [F, 3].
        count: number of vertices.
    """
    seen = torch.zeros(len(face_ids), len(faces) + 1, dtype=torch.bool, device=face_ids.device)
    seen.scatter_(1, face_ids.flatten(1).long() + 1, True)
    view, face = seen[:, 1:].nonzero(as_tuple=True)
    visible = torch.zeros(len(face_ids), count, dtype=torch.bool, device=face_ids.device)
    visible[view[:, None], faces[face]] = True
    return visible


def pixel_weights(face_ids: Tensor, faces: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The vertices around each pixel and their weights, for meshes seen by orthographic cameras.

    Args:
        face_ids: int [N, H, W], -1 = background.
        faces: int64 [F, 3].
        positions: float [N, V, 2], image positions of the vertices in [-1, 1], x right, y down.

    Returns:
        int64 [N, H, W, 3], vertices of the face; float [N, H, W, 3], barycentric weights of the pixel's centre, clamped to the
        face; both 0 on the background.
    """
    n, height, width = face_ids.shape
    seen = face_ids >= 0
    corners = faces[face_ids.clamp_min(0).long()] * seen[..., None]
    a, b, c = positions.gather(1, corners.view(n, -1, 1).expand(-1, -1, 2)).view(n, height, width, 3, 2).unbind(3)
    y, x = torch.meshgrid(
        torch.arange(height, device=positions.device), torch.arange(width, device=positions.device), indexing="ij"
    )
    centre = torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=2).to(positions)
    area = _cross(b - a, c - a)
    area = torch.where(area.abs() < 1e-12, torch.ones_like(area), area)
    second, third = _cross(centre - a, c - a) / area, _cross(b - a, centre - a) / area
    weights = torch.stack([1 - second - third, second, third], dim=3).clamp(0, 1)
    weights = weights / weights.sum(dim=3, keepdim=True).clamp_min(1e-12)
    return corners, weights * seen[..., None]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
