"""Votes spread over the surface, so that a face heeds its neighbours' and a face that no pixel saw takes theirs."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array, csc_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu
from torch import Tensor

from mvdecor.lifting.vote import FaceVotes
from mvdecor.shapes.shape import Shape

LEAK = 1e-3
"""Conductance of a crease or border, as a share of a flat edge's: across it a region that no pixel saw takes votes, too."""
FACES_OF_EDGE = 8
"""At an edge of more faces each is tied to so many that follow it; a mesh that is no surface has such edges."""
SOUP = 8
"""A mesh whose components have fewer faces than this on average is a soup: its vertices tell no components apart."""
FLATTEST = 1e-4
"""The least distance of two centres across an edge, in lengths of the edge; slivers have less."""


def smooth_votes(shape: Shape, votes: FaceVotes, radius: float, crease: float) -> tuple[FaceVotes, Tensor]:
    """Spread scores, probabilities and images over the surface by one sparse linear solve.

    The scores S minimise

        sum over faces of area * seen * |S - votes|^2  +  radius^2 * sum over edges of conductance * |S_f - S_g|^2,

    a screened Poisson equation on the mesh by finite volumes: `radius` is the length over which a vote is felt, whatever the
    size of the triangles. Conductance is the edge's length over the distance of the two centres across it; over a crease
    it is `LEAK` of that.
    So it is between two components of the file that touch (no vertex in common, see `SOUP`). Twins (`Shape.twin_groups`) are
    one face. Faces that share no edge by position are not tied at all.

    Args:
        shape: the shape that was voted on.
        votes: its votes; some face must be seen.
        radius: in units of the vertices, which are normalised to the unit sphere; above 0.
        crease: degrees, in [0, 180], by which two faces may be folded against each other without a crease between them.
            It does not depend on their winding, which CAD files often get wrong.

    Returns:
        the votes, on their device, with rows that sum to 1 (scores) where a vote arrived and are 0 elsewhere; `seen` and
        `weight` are what they were. bool [F], where a vote arrived: all faces of a component that has a seen face.
    """
    assert radius > 0, f"a smoothing radius of {radius}; it must be above 0"
    representatives, group = (x.cpu().numpy() for x in shape.twin_groups.unique(return_inverse=True))
    count = len(representatives)
    rows, columns, conductance = edges_of(shape, representatives, crease)
    seen = votes.seen.cpu().numpy()[representatives]
    areas = shape.face_areas.cpu().numpy()[representatives]
    # a face without area is as sure of its votes as the smallest one
    floor = areas[areas > 0].min(initial=np.inf)
    mass = np.where(seen, np.maximum(areas, floor if np.isfinite(floor) else 1.0), 0.0)
    region = connected_components(coo_array((conductance, (rows, columns)), shape=(count, count)), directed=False)[1]
    arrived = np.isin(region, region[seen])

    fields = [x for x in (votes.scores, votes.probabilities, votes.images) if x is not None]
    values = torch.cat(fields, dim=1).cpu().double().numpy()[representatives]
    laplacian = _laplacian(rows, columns, radius**2 * conductance, count)
    solved = np.zeros_like(values)
    system = (laplacian + csc_array((mass, (np.arange(count), np.arange(count)))))[arrived][:, arrived]
    factors = splu(csc_array(system), "MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    solved[arrived] = factors.solve(mass[arrived, None] * values[arrived])

    result = torch.from_numpy(solved.clip(min=0.0)[group]).float().to(votes.scores.device)
    parts = iter(result.split(votes.scores.shape[1], dim=1))
    scores = next(parts)
    probabilities, images = (None if x is None else next(parts) for x in (votes.probabilities, votes.images))
    smoothed = FaceVotes(scores, votes.seen, votes.weight, probabilities, images, votes.evidence)
    return smoothed, torch.from_numpy(arrived[group]).to(votes.seen.device)


def _laplacian(
    rows: NDArray[np.int64], columns: NDArray[np.int64], weights: NDArray[np.float64], count: int
) -> csc_array:
    """The matrix of the sum of weight * (S_row - S_column)^2 over all edges, `count` x `count`."""
    diagonal = np.bincount(np.concatenate([rows, columns]), np.concatenate([weights, weights]), minlength=count)
    numbers = np.arange(count)
    entries = np.concatenate([diagonal, -weights, -weights])
    place = (np.concatenate([numbers, rows, columns]), np.concatenate([numbers, columns, rows]))
    return csc_array((entries, place), shape=(count, count))


def edges_of(
    shape: Shape, representatives: NDArray[np.int64], crease: float
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Pairs of faces that share an edge by position: the numbers of both in `representatives`, and their conductance."""
    corners = shape.corners.cpu().numpy()[representatives]
    points = shape.vertices[shape.faces].cpu().double().numpy()[representatives]
    # edge i of a face goes from corner i to the next and has the third corner across
    ends = np.sort(np.stack([corners, corners[:, [1, 2, 0]]], axis=2).reshape(-1, 2), axis=1)
    start, direction = points.reshape(-1, 3), (points[:, [1, 2, 0]] - points).reshape(-1, 3)
    length = np.linalg.norm(direction, axis=1)
    across = points[:, [2, 0, 1]].reshape(-1, 3) - start
    unit = direction / np.maximum(length, 1e-300)[:, None]
    height = across - (across * unit).sum(axis=1, keepdims=True) * unit  # from the edge to the third corner
    face = np.repeat(np.arange(len(corners)), 3)

    proper = np.flatnonzero((ends[:, 0] != ends[:, 1]) & (length > 0))
    proper = proper[np.lexsort((face[proper], ends[proper, 1], ends[proper, 0]))]
    first, second = [], []
    for offset in range(1, FACES_OF_EDGE):
        a, b = proper[:-offset], proper[offset:]
        shared = (ends[a] == ends[b]).all(axis=1) & (face[a] != face[b])
        first.append(a[shared])
        second.append(b[shared])
    a, b = np.concatenate(first), np.concatenate(second)
    size_a, size_b = np.linalg.norm(height[a], axis=1), np.linalg.norm(height[b], axis=1)
    # a centre is a third of the height away; the heights of a flat pair point away from each other
    distance = np.maximum((size_a + size_b) / 3, FLATTEST * length[a])
    cosine = -(height[a] * height[b]).sum(axis=1) / np.maximum(size_a * size_b, 1e-300)
    flat = (cosine >= np.cos(np.radians(crease)) - 1e-9) | (np.minimum(size_a, size_b) < FLATTEST * length[a])
    component = _components(shape)[representatives]
    tied = flat & (component[face[a]] == component[face[b]])
    return face[a], face[b], length[a] / distance * np.where(tied, 1.0, LEAK)


def _components(shape: Shape) -> NDArray[np.int64]:
    """int64 [F], the component of each face by shared vertices; all 0 in a soup."""
    faces, size = shape.faces.cpu().numpy(), len(shape.vertices)
    rows, columns = np.concatenate([faces[:, :2], faces[:, 1:]]).T
    graph = coo_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=(size, size))
    component = connected_components(graph, directed=False)[1][faces[:, 0]].astype(np.int64)
    return component if len(np.unique(component)) * SOUP <= len(faces) else np.zeros_like(component)
