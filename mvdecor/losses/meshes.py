"""Losses of a deformed template: how far it moved, how rigidly, how smoothly, and whether its projection agrees with positions.

One value per sample.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.losses.masks import weighted_mean


def reprojection_loss(positions: Tensor, projected: Tensor, weights: Tensor) -> Tensor:
    """float [B], weighted mean squared distance between positions [B, V, 2] and projected vertices [B, V, 2] (cycle)."""
    return weighted_mean((positions - projected).square().sum(dim=2), weights)


def edge_length_loss(positions: Tensor, projected: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """How far the lengths of edges in the image differ from those of the projected mesh.

    Args:
        positions: float [B, V, 2], image positions.
        projected: float [B, V, 2], the vertices through the camera.
        edges: int64 [E, 2].
        weights: float [B, V]; an edge has the product of its ends'.

    Returns:
        float [B], the weighted mean absolute difference.
    """
    first, second = edges.T
    lengths = [(x[:, first] - x[:, second]).square().sum(dim=2).add(1e-12).sqrt() for x in (positions, projected)]
    return weighted_mean((lengths[0] - lengths[1]).abs(), weights[:, first] * weights[:, second])


def deformation_loss(vertices: Tensor, template: Tensor) -> Tensor:
    """float [B], mean squared distance of vertices [B, V, 3] from the template's [V, 3]."""
    return (vertices - template).square().sum(dim=2).mean(dim=1)


def laplacian_loss(displacements: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """How roughly a field of displacements varies over a mesh: mean squared length of its Laplacian.

    Args:
        displacements: float [B, V, 3], of vertices; of basis vectors likewise.
        edges: int64 [E, 2], each once.
        weights: float [E], see `cotangents`; a vertex's weights are divided by their sum.

    Returns:
        float [B].
    """
    return edge_laplacian(displacements, edges, weights).square().sum(dim=2).mean(dim=1)


def edge_laplacian(values: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """[B, V, D], the weighted mean over a vertex's neighbours of their difference from it; arguments as of `laplacian_loss`."""
    first, second = edges.T
    step = weights[:, None] * (values[:, second] - values[:, first])
    total = torch.zeros_like(values).index_add(1, first, step).index_add(1, second, -step)
    sums = weights.new_zeros(values.shape[1]).index_add(0, first, weights).index_add(0, second, weights)
    return total / sums.clamp_min(1e-12)[:, None]


def arap_loss(vertices: Tensor, template: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
    """As-rigid-as-possible energy (Sorkine and Alexa 2007, equation 3), divided by the number of vertices.

    The best rotation of each vertex's neighbourhood is taken as constant, which leaves the gradient exact: it is a minimum.

    Args:
        vertices: float [B, V, 3], deformed.
        template: float [V, 3].
        edges: int64 [E, 2], each once.
        weights: float [E], see `cotangents`.

    Returns:
        float [B].
    """
    first, second = edges.T
    before = template[second] - template[first]  # [E, 3]
    after = vertices[:, second] - vertices[:, first]  # [B, E, 3]
    with torch.no_grad():
        outer = weights[:, None, None] * before[:, :, None] * after[:, :, None, :]  # the same from both ends
        covariance = outer.new_zeros(len(vertices), len(template), 3, 3)
        covariance.index_add_(1, first, outer).index_add_(1, second, outer)
        left, _, right = torch.linalg.svd(covariance)
        sign = torch.ones_like(covariance[..., 0])
        sign[..., 2] = torch.linalg.det(left @ right).sign()
        rotation = right.transpose(2, 3) @ (sign[..., None] * left.transpose(2, 3))
    residuals = [after - (rotation[:, end] @ before[:, :, None])[..., 0] for end in (first, second)]
    energy = sum(residual.square().sum(dim=2) for residual in residuals)
    return (weights * energy).sum(dim=1) / len(template)


def mesh_edges(faces: Tensor) -> Tensor:
    """int64 [E, 2], each edge of triangles [F, 3] once, its lower vertex first."""
    return torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(dim=1).values.unique(dim=0)


def cotangents(vertices: Tensor, faces: Tensor, edges: Tensor, least: float = 0.05) -> Tensor:
    """float [E], half the sum of the cotangents of the angles opposite each edge; at least `least`, so that none repels.

    Args:
        vertices: float [V, 3].
        faces: int64 [F, 3].
        edges: int64 [E, 2], `mesh_edges(faces)`.
    """
    count = len(vertices)
    keys = edges[:, 0] * count + edges[:, 1]
    weights = vertices.new_zeros(len(edges))
    for corner in range(3):
        apex, a, b = (faces[:, (corner + k) % 3] for k in range(3))
        to_a, to_b = vertices[a] - vertices[apex], vertices[b] - vertices[apex]
        sine = torch.linalg.cross(to_a, to_b).norm(dim=1).clamp_min(1e-12)
        place = torch.searchsorted(keys, torch.minimum(a, b) * count + torch.maximum(a, b))
        weights.index_add_(0, place, (to_a * to_b).sum(dim=1) / sine / 2)
    return weights.clamp_min(least)
