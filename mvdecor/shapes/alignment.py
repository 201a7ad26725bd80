"""Laying a point cloud that was sampled elsewhere onto its mesh: axes, uniform scale and translation."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product

import numpy as np
from scipy.spatial import cKDTree

SURFACE_SAMPLES = 50_000
COARSE_POINTS = 300
FINE_POINTS = 3000
ICP_STEPS = 6
ICP_KEPT = 0.9
"""Share of the nearest point pairs that a step of ICP fits: a point cloud may show details that the mesh lacks."""
TIE = 1.05
"""Axes are changed only where that makes the residual smaller by this factor: symmetric shapes fit in many ways."""


@dataclass(frozen=True)
class Alignment:
    """The map x -> scale * axes @ x + translation from a point cloud's frame to a mesh's.

    Attributes:
        axes: float64 [3, 3], a signed permutation matrix (a mirror image if its determinant is -1).
        scale: positive.
        translation: float64 [3], in the mesh's units.
        residual: mean distance of the mapped points to the nearest surface sample and of the samples to the nearest
            point, averaged, in the mesh's units. A perfect fit leaves about half the spacing of points and samples.
    """

    axes: np.ndarray
    scale: float
    translation: np.ndarray
    residual: float

    def apply(self, points: np.ndarray) -> np.ndarray:
        """float64 [N, 3] in the mesh's frame, of points [N, 3] in the cloud's."""
        return self.scale * (points @ self.axes.T) + self.translation


def align_points(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, seed: int = 0) -> Alignment:
    """Find the axes, scale and translation that lay points onto the mesh they were sampled from.

    Bounding boxes give a first scale and translation, which ICP refines (point to plane; scale and translation only, so
    that a symmetric shape cannot turn). Unchanged axes are taken if the points then fit as well as fresh samples of the
    mesh itself. Otherwise all 48 ways to permute and flip axes are tried, and the one with the least residual is taken,
    of about equals unchanged axes, then a rotation rather than a mirror image.

    Args:
        points: [N, 3], samples of most of the surface.
        vertices: [V, 3].
        faces: int [F, 3], not all of zero area.
        seed: of the random samples.
    """
    generator = np.random.default_rng(seed)
    points = points.astype(np.float64)
    surface, normals = sample_surface(vertices, faces, SURFACE_SAMPLES, generator)
    tree = cKDTree(surface)
    some = points[generator.permutation(len(points))[:FINE_POINTS]]
    guesses = [_fit_boxes(axes, points, vertices[faces].reshape(-1, 3)) for axes in _axis_maps()]
    own = sample_surface(vertices, faces, len(points), generator)[0]
    attainable = _residual(own, own[:FINE_POINTS], tree)
    unchanged = _refine(guesses[0], points, some, tree, normals)
    if unchanged.residual <= TIE * attainable:
        return unchanged
    coarse = [float(tree.query(guess.apply(some[:COARSE_POINTS]))[0].mean()) for guess in guesses]
    near = [guess for guess, residual in zip(guesses, coarse, strict=True) if residual <= 2 * min(coarse)]
    refined = [_refine(guess, points, some, tree, normals) for guess in near]
    best = min(result.residual for result in refined)
    return next(result for result in refined if result.residual <= TIE * best)


def sample_surface(
    vertices: np.ndarray, faces: np.ndarray, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points drawn uniformly by area.

    Args:
        vertices: [V, 3].
        faces: int [F, 3], not all of zero area.
        count: S, number of points.
        generator: source of the draws.

    Returns:
        float64 [S, 3] points and [S, 3] unit normals of their faces, by the faces' winding.
    """
    a, b, c = np.moveaxis(vertices.astype(np.float64)[faces], 1, 0)
    cross = np.cross(b - a, c - a)
    double_area = np.linalg.norm(cross, axis=1)
    drawn = generator.choice(len(faces), size=count, p=double_area / double_area.sum())
    u, v = generator.random((2, count, 1))
    outside = u + v > 1  # of the triangle, in the other half of the parallelogram: fold it back
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    a, b, c = a[drawn], b[drawn], c[drawn]
    return a + u * (b - a) + v * (c - a), cross[drawn] / double_area[drawn, None]


def _axis_maps() -> list[np.ndarray]:
    """The 48 signed permutation matrices: the identity, the other rotations, then the mirror images."""
    maps = [
        np.eye(3)[list(order)] * np.array(signs)[:, None]
        for order in permutations(range(3))
        for signs in product((1.0, -1.0), repeat=3)
    ]
    return sorted(maps, key=lambda axes: (np.linalg.det(axes) < 0, -np.trace(axes)))


def _fit_boxes(axes: np.ndarray, points: np.ndarray, corners: np.ndarray) -> Alignment:
    turned = points @ axes.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    target_low, target_high = corners.min(axis=0), corners.max(axis=0)
    scale = float(np.linalg.norm(target_high - target_low) / np.linalg.norm(high - low))
    return Alignment(axes, scale, (target_low + target_high) / 2 - scale * (low + high) / 2, float("inf"))


def _refine(start: Alignment, points: np.ndarray, some: np.ndarray, tree: cKDTree, normals: np.ndarray) -> Alignment:
    """ICP on scale and translation: least squares of the distances to the planes of the nearest surface samples."""
    scale, translation = start.scale, start.translation
    turned = some @ start.axes.T
    for _ in range(ICP_STEPS):
        placed = scale * turned + translation
        distance, nearest = tree.query(placed)
        kept = distance <= np.quantile(distance, ICP_KEPT)
        y, n, q = placed[kept], normals[nearest[kept]], tree.data[nearest[kept]]
        columns = np.concatenate([(n * y).sum(axis=1, keepdims=True), n], axis=1)
        # solved for the change, with a cut-off: what no surface determines stays as the boxes gave it
        change = np.linalg.lstsq(columns, (n * (q - y)).sum(axis=1), rcond=1e-3)[0]
        scale, translation = scale * (1 + change[0]), translation * (1 + change[0]) + change[1:]
    result = replace(start, scale=float(scale), translation=translation)
    return replace(result, residual=_residual(result.apply(points), result.apply(some), tree))


def _residual(placed: np.ndarray, some: np.ndarray, tree: cKDTree) -> float:
    """Mean distance of some points to the surface samples and of as many samples to all points, averaged."""
    there = tree.query(some)[0].mean()
    # and back, since one way a cloud shrunk to a point on the surface would fit best of all
    back = cKDTree(placed).query(tree.data[: len(some)])[0].mean()
    return float(there + back) / 2
