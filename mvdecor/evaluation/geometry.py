"""How close two surfaces are: Chamfer distance and F-score of points, IoU of voxels."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_fill_holes
from scipy.spatial import cKDTree
from trimesh import Trimesh
from trimesh.sample import sample_surface as sample_mesh

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape

Array = NDArray[np.float64]

CHUNK = 2_000_000  # pairs of triangles and voxels that are tested together
MARGIN = 0.02  # of the common cube around the voxels, so that no surface lies in its wall


@dataclass(frozen=True)
class Closeness:
    """Of a set of points to another.

    Attributes:
        chamfer: mean distance from a point of one to the nearest of the other, averaged over both directions; not squared.
        precision, recall: share of predicted points near a true one, and of true points near a predicted one.
        f_score: harmonic mean of the two.
    """

    chamfer: float
    precision: float
    recall: float
    f_score: float


def closeness(predicted: Array, truth: Array, threshold: float) -> Closeness:
    """Chamfer distance and F-score (Knapitsch et al. 2017) of points that sample two surfaces.

    Args:
        predicted, truth: float [P, 3] and [Q, 3], at least one each.
        threshold: distance below which points are near each other.

    Raises:
        InputError: no points, or some that are not finite.
    """
    for name, points in (("predicted", predicted), ("true", truth)):
        if len(points) == 0 or not np.isfinite(points).all():
            raise InputError(
                f"{name} points: there are none, or some are not finite; a distance to them has no meaning"
            )
    to_truth, to_predicted = cKDTree(truth).query(predicted)[0], cKDTree(predicted).query(truth)[0]
    precision, recall = float((to_truth < threshold).mean()), float((to_predicted < threshold).mean())
    f_score = 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0
    return Closeness(float((to_truth.mean() + to_predicted.mean()) / 2), precision, recall, f_score)


def sample_surface(shape: Shape, count: int, seed: int = 0) -> Array:
    """float64 [count, 3], points of a surface, uniform by area."""
    mesh = Trimesh(shape.vertices.double().cpu().numpy(), shape.faces.cpu().numpy(), process=False)
    return np.asarray(sample_mesh(mesh, count, seed=seed)[0])


def align(source: Array, target: Array) -> tuple[float, Array, Array]:
    """Scale, rotation [3, 3] and shift [3] of least squared error from points to their counterparts (Umeyama 1991).

    Args:
        source, target: float [P, 3]; those of all shapes in a row give one transform for all.

    Raises:
        InputError: fewer than three points, or all in one place.
    """
    if len(source) < 3 or not float(np.ptp(source, axis=0).max()) > 0:
        raise InputError(f"{len(source)} points cannot be aligned: give at least three that differ")
    middle, goal = source.mean(axis=0), target.mean(axis=0)
    left, values, right = np.linalg.svd((target - goal).T @ (source - middle))
    signs = np.array([1, 1, np.sign(np.linalg.det(left @ right))])
    rotation = (left * signs) @ right
    scale = float((values * signs).sum() / np.square(source - middle).sum())
    return scale, rotation, goal - scale * rotation @ middle


def voxel_iou(predicted: Shape, truth: Shape, resolution: int = 32) -> float:
    """Intersection over union of two solids in a cube of voxels around both, as for PASCAL3D+ (Tulsiani et al. 2017).

    A voxel counts if the surface touches it or encloses it, so open meshes with closed outlines have an inside, too.

    Args:
        predicted, truth: in one frame.
        resolution: voxels per side.
    """
    corners = [shape.vertices[shape.faces].double().cpu().numpy() for shape in (predicted, truth)]
    corners_of_both = np.concatenate([c.reshape(-1, 3) for c in corners])
    low, high = corners_of_both.min(axis=0), corners_of_both.max(axis=0)
    side = (1 + 2 * MARGIN) * float((high - low).max())
    if not side > 0:
        raise InputError(f"shapes {predicted.id} and {truth.id} are one point; they have no volume")
    start = (low + high - side) / 2
    solids = [solid_voxels((c - start) * (resolution / side), resolution) for c in corners]
    return float((solids[0] & solids[1]).sum() / (solids[0] | solids[1]).sum())


def solid_voxels(triangles: Array, resolution: int) -> NDArray[np.bool_]:
    """bool [n, n, n], unit voxels that triangles [F, 3, 3] touch, and those that they enclose; corners lie in [0, n]."""
    return binary_fill_holes(surface_voxels(triangles, resolution))


def surface_voxels(triangles: Array, resolution: int) -> NDArray[np.bool_]:
    """bool [n, n, n], unit voxels that triangles [F, 3, 3] touch: by separating axes (Akenine-Möller 2001), exactly."""
    touched = np.zeros((resolution,) * 3, dtype=bool)
    low = np.floor(triangles.min(axis=1)).astype(np.int64).clip(0, resolution - 1)
    high = np.floor(triangles.max(axis=1)).astype(np.int64).clip(0, resolution - 1)
    size = high - low + 1
    count = size.prod(axis=1)
    for part in np.split(np.arange(len(triangles)), np.flatnonzero(np.diff(count.cumsum() // CHUNK)) + 1):
        face = part.repeat(count[part])
        place = np.arange(len(face)) - (count[part].cumsum() - count[part]).repeat(count[part])
        x, y, z = place % size[face, 0], place // size[face, 0] % size[face, 1], place // size[face, :2].prod(axis=1)
        voxel = low[face] + np.stack([x, y, z], axis=1)
        hit = voxel[_overlap(triangles[face] - (voxel + 0.5)[:, None])]
        touched[hit[:, 0], hit[:, 1], hit[:, 2]] = True
    return touched


def _overlap(triangles: Array) -> NDArray[np.bool_]:
    """bool [P], whether triangles [P, 3, 3] meet the closed unit cube around the origin."""
    edges = np.roll(triangles, -1, axis=1) - triangles
    overlap = (triangles.min(axis=1) <= 0.5).all(axis=1) & (triangles.max(axis=1) >= -0.5).all(axis=1)
    axes = [np.cross(edges[:, 0], edges[:, 1])]
    axes += [np.cross(unit, edges[:, i]) for unit, i in product(np.eye(3), range(3))]
    for axis in axes:
        heights = np.einsum("pci,pi->pc", triangles, axis)
        reach = np.abs(axis).sum(axis=1) / 2
        overlap &= (heights.min(axis=1) <= reach) & (heights.max(axis=1) >= -reach)
    return overlap
