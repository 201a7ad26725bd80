"""The labelling tools' geometry: the face that a ray hits, and the faces that a click selects."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mvdecor.errors import InputError
from mvdecor.lifting.fill import components_of
from mvdecor.shapes import Shape
from mvdecor.views.rasterizers import rasterized_faces

Faces = NDArray[np.bool_]
"""bool [F], True for the faces meant."""


@dataclass(frozen=True)
class Hit:
    """Where a ray first meets a shape.

    Attributes:
        face: index of the face; of coincident twins the lowest.
        point: float64 [3], in the shape's frame.
        distance: from the ray's origin, in units of its direction's length.
    """

    face: int
    point: NDArray[np.float64]
    distance: float


class FaceTools:
    """Finds faces of one shape. Coincident twins (`Shape.twin_groups`) are always meant together.

    Args:
        shape: on the CPU.

    Raises:
        InputError: if all of the shape's faces are degenerate.
    """

    def __init__(self, shape: Shape) -> None:
        self._id = shape.id
        self._images = None if shape.texture is None else shape.texture.image_ids.numpy()
        self._areas = shape.face_areas.double().numpy()
        self._groups = shape.twin_groups.numpy()
        self._centers = shape.face_centers.double().numpy()
        self._components = components_of(shape)
        self._pairs, self._angles = neighbours(shape)
        self._rasterized = rasterized_faces(shape).numpy()
        self._scene = EmbreeScene(robust=True)
        faces = shape.faces.numpy()[self._rasterized].astype(np.int32)
        TriangleMesh(self._scene, np.ascontiguousarray(shape.vertices.numpy()), faces)

    def pick(self, origin: ArrayLike, direction: ArrayLike) -> Hit | None:
        """The first face, seen from either side, that a ray meets; None if it misses the shape.

        Args:
            origin: [3], in the shape's frame.
            direction: [3], of any length.
        """
        start, along = (np.asarray(x, dtype=np.float64) for x in (origin, direction))
        rays = (np.ascontiguousarray(x[None], dtype=np.float32) for x in (start, along))
        answer = self._scene.run(*rays, output=True)
        number, distance = int(answer["primID"][0]), float(answer["tfar"][0])
        return None if number < 0 else Hit(int(self._rasterized[number]), start + distance * along, distance)

    def component(self, face: int) -> Faces:
        """The connected part of the mesh that a face is in: faces that share a corner's position, and so on."""
        return self._components == self._components[face]

    def brush(self, face: int, point: ArrayLike, radius: float) -> Faces:
        """A face, and those whose centre is within `radius` of a point and that lie together with it.

        Faces that only come near through the air, or through a thin wall, are left out: a brush follows the surface.

        Args:
            face: where the brush touches.
            point: [3], in the shape's frame.
            radius: in units of the shape.
        """
        in_radius = np.linalg.norm(self._centers - np.asarray(point, dtype=np.float64), axis=1) <= radius
        in_radius[self._groups[face]] = True
        return self._flood(face, in_radius[self._pairs].all(axis=1))

    def crease(self, face: int, degrees: float) -> Faces:
        """The faces that can be reached from one without crossing an edge bent by more than `degrees` (0 = flat)."""
        return self._flood(face, self._angles <= degrees)

    def material(self, face: int) -> Faces:
        """All faces that have the image, or the plain colour, of one.

        Raises:
            InputError: the shape has no texture.
        """
        if self._images is None:
            raise InputError(f"shape {self._id} has no materials: use another tool")
        with_image = self._images == self._images[face]
        return np.isin(self._groups, self._groups[with_image])

    def middle_of_largest(self, faces: Faces) -> int | None:
        """Of the connected pieces that some faces form, the one of the largest area: its face nearest to its middle.

        Args:
            faces: bool [F].

        Returns:
            index of the face; None if there are no faces.
        """
        lowest = faces & (self._groups == np.arange(len(faces)))
        if not lowest.any():
            return None
        pieces = self._pieces(lowest[self._pairs].all(axis=1))
        areas = np.bincount(pieces, weights=np.where(lowest, self._areas, -1.0))
        piece = np.flatnonzero(lowest & (pieces == areas.argmax()))
        middle = np.average(self._centers[piece], axis=0, weights=self._areas[piece] + 1e-12)
        return int(piece[np.linalg.norm(self._centers[piece] - middle, axis=1).argmin()])

    def center(self, face: int) -> NDArray[np.float64]:
        """float64 [3], the middle of a face, in the shape's frame."""
        return self._centers[face]

    def _flood(self, face: int, open_pairs: NDArray[np.bool_]) -> Faces:
        """The faces joined to one by the pairs of neighbours that are open."""
        pieces = self._pieces(open_pairs)
        lowest = pieces == pieces[self._groups[face]]
        return lowest[self._groups]

    def _pieces(self, open_pairs: NDArray[np.bool_]) -> NDArray[np.int32]:
        """int32 [F], number of the piece that each face is in, if the pairs of neighbours that are open are joined."""
        rows, columns = self._pairs[open_pairs].T
        size = len(self._groups)
        graph = coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size))
        return connected_components(graph, directed=False)[1]


def neighbours(shape: Shape) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Faces that share an edge, and how much the surface bends there.

    Corners are compared by position. Of coincident twins only the lowest is a neighbour of anything. Where more than two
    faces share an edge, each two of them are neighbours. The bend does not depend on the faces' windings: where two
    neighbours are wound against each other, one is taken turned around. At a degenerate face it is 90 degrees.

    Returns:
        int64 [P, 2], pairs of faces, and float64 [P], degrees between 0 (flat) and 180 (folded back).
    """
    corners = shape.corners.numpy()
    lowest = np.flatnonzero(shape.twin_groups.numpy() == np.arange(shape.num_faces))
    start = corners[lowest]
    end = np.roll(start, -1, axis=1).reshape(-1)
    start, face = start.reshape(-1), lowest.repeat(3)
    edge = np.minimum(start, end) * (int(corners.max()) + 1) + np.maximum(start, end)
    order = np.argsort(edge, kind="stable")
    order = order[start[order] != end[order]]
    edge, face, forward = edge[order], face[order], (start < end)[order]
    pairs, reversed_winding = [np.empty((0, 2), dtype=np.int64)], [np.empty(0, dtype=bool)]
    for step in count(1):
        first = np.flatnonzero(edge[step:] == edge[:-step])
        if len(first) == 0:
            break
        pairs.append(np.stack([face[first], face[first + step]], axis=1))
        reversed_winding.append(forward[first] == forward[first + step])
    neighbour_pairs = np.concatenate(pairs)
    normals = shape.face_normals.double().numpy()
    sign = np.where(np.concatenate(reversed_winding), -1, 1)
    cosine = sign * (normals[neighbour_pairs[:, 0]] * normals[neighbour_pairs[:, 1]]).sum(axis=1)
    return neighbour_pairs, np.degrees(np.arccos(cosine.clip(-1, 1)))
