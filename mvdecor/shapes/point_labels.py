"""Labels of the points of a cloud, carried to the faces of the mesh that the cloud was sampled on."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.shape import UNDETERMINED, Shape

SURFACE_POINTS = 50_000
STEPS = (0.7548776662466927, 0.5698402909980532)
"""Of a sequence that fills the unit square evenly: powers of the root of x^3 = x + 1 (Roberts 2018)."""


def surface_points(shape: Shape, count: int = SURFACE_POINTS) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points spread evenly over a mesh, always the same ones.

    Each face has as many as its share of the area asks for, and at least one; the first is its centre.

    Args:
        shape: the mesh.
        count: about how many points, beside those of faces that are too small for one.

    Returns:
        float64 [S, 3], in the mesh's frame, and int64 [S], the face of each.
    """
    areas = shape.face_areas.double().cpu().numpy()
    shares = areas / max(areas.sum(), np.finfo(float).tiny)
    counts = np.maximum(np.rint(shares * count).astype(np.int64), 1)
    faces = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(faces)) - np.repeat(counts.cumsum() - counts, counts)  # of a point in its face
    b, c = ((1 / 3 + number * step) % 1 for step in STEPS)
    outside = b + c > 1  # the other half of the square
    b, c = np.where(outside, 1 - b, b), np.where(outside, 1 - c, c)
    corners = shape.vertices.double().cpu().numpy()[shape.faces.cpu().numpy()[faces]]
    weights = np.stack([1 - b - c, b, c], axis=1)
    return (weights[:, :, None] * corners).sum(axis=1), faces


def carry_to_faces(
    shape: Shape,
    points: NDArray[np.float64],
    labels: NDArray[np.int64],
    num_labels: int,
    reach: float = float("inf"),
) -> Tensor:
    """The label that most of the points nearest to each face have.

    Each point of `surface_points` votes for the label of the labelled point nearest to it: a large face is asked all over,
    not at its centre alone. Of equally frequent labels the lowest wins. Coincident faces (`Shape.twin_groups`) vote together.

    Args:
        shape: the mesh.
        points: [P, 3], in the mesh's frame.
        labels: [P], in [-1, num_labels). -1 (undetermined) votes like any other label.
        num_labels: C.
        reach: parts of a face that are farther than this from every labelled point have no vote, in diagonals of the mesh's
            bounding box.

    Returns:
        int64 [F] in [-1, C); -1 also for faces without any vote.

    Raises:
        InputError: there is no point.
    """
    if len(points) == 0:
        raise InputError(f"shape {shape.id}: the point cloud is empty, so its faces cannot be labelled")
    surface, faces = surface_points(shape)
    distance, nearest = cKDTree(points).query(surface)
    diagonal = np.linalg.norm(np.ptp(shape.vertices[shape.faces.reshape(-1)].double().cpu().numpy(), axis=0))
    column = labels[nearest] % (num_labels + 1)  # undetermined is the last one
    group = shape.twin_groups.cpu().numpy()
    cell = (group[faces] * (num_labels + 1) + column)[distance <= reach * diagonal]
    votes = np.bincount(cell, minlength=shape.num_faces * (num_labels + 1)).reshape(shape.num_faces, num_labels + 1)
    winner = votes.argmax(axis=1)
    undetermined = (winner == num_labels) | (votes.sum(axis=1) == 0)
    return torch.from_numpy(np.where(undetermined, UNDETERMINED, winner)[group])
