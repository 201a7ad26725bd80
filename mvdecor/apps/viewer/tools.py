"""The labelling tools' geometry: the face that a ray hits, and the faces that a click selects."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import coo_array, csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from mvdecor.errors import InputError
from mvdecor.lifting.fill import components_of
from mvdecor.shapes import Shape
from mvdecor.shapes.sampling import sample_texture
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


@dataclass(frozen=True)
class View:
    """How a browser looks at a shape: a pinhole in OpenCV axes (x right, y down, z forward).

    Attributes:
        position: float64 [3], in the shape's frame.
        rotation: float64 [3, 3], camera to world: its columns are the camera's axes.
        fov: vertical field of view, radians.
        aspect: width of the picture divided by its height.
    """

    position: NDArray[np.float64]
    rotation: NDArray[np.float64]
    fov: float
    aspect: float

    def project(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Where points [P, 3] are in the picture: float64 [P, 2], (0, 0) top left, (1, 1) bottom right; and which are in
        front of the camera, bool [P]."""
        x, y, z = ((points - self.position) @ self.rotation).T
        height = 2 * np.tan(self.fov / 2) * np.where(z > 0, z, 1.0)
        return np.stack([0.5 + x / (height * self.aspect), 0.5 + y / height], axis=1), z > 0


class FaceTools:
    """Finds faces of one shape. Coincident twins (`Shape.twin_groups`) are always meant together.

    Args:
        shape: on the CPU.
        objects: reads the object of the file that each face is in (`read_objects`), when it is first asked for.

    Raises:
        InputError: if all of the shape's faces are degenerate.
    """

    def __init__(self, shape: Shape, objects: Callable[[], NDArray[np.int64] | None] | None = None) -> None:
        self._id, self._texture, self._read_objects = shape.id, shape.texture, objects
        self._vertices, self._faces = shape.vertices.numpy(), shape.faces.numpy().astype(np.int32)
        self._areas = shape.face_areas.double().numpy()
        self._groups = shape.twin_groups.numpy()
        self._centers = shape.face_centers.double().numpy()
        self._components = components_of(shape)
        self._pairs, self._angles = neighbours(shape)
        self._solid = rasterized_faces(shape).numpy()
        self.show(np.ones(shape.num_faces, dtype=bool))

    def show(self, faces: Faces) -> None:
        """From now on rays meet these faces alone."""
        self._hittable = self._solid[faces[self._solid]]
        self._scene = EmbreeScene(robust=True)
        if len(self._hittable):
            TriangleMesh(self._scene, self._vertices, np.ascontiguousarray(self._faces[self._hittable]))

    def pick(self, origin: ArrayLike, direction: ArrayLike) -> Hit | None:
        """The first face, seen from either side, that a ray meets; None if it misses the shape.

        Args:
            origin: [3], in the shape's frame.
            direction: [3], of any length.
        """
        start, along = (np.asarray(x, dtype=np.float64) for x in (origin, direction))
        face, distance = self._cast(start, along[None])
        if face[0] < 0:
            return None
        return Hit(int(face[0]), start + distance[0] * along, float(distance[0]))

    def _cast(
        self, origin: NDArray[np.float64], directions: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """int64 [R], the first face that each of some rays from one point meets, -1 = none; and float64 [R], how far, in
        lengths of the directions [R, 3]."""
        if len(self._hittable) == 0 or len(directions) == 0:
            return np.full(len(directions), -1), np.full(len(directions), np.inf)
        along = np.ascontiguousarray(directions, dtype=np.float32)
        start = np.ascontiguousarray(np.broadcast_to(origin, directions.shape), dtype=np.float32)
        answer = self._scene.run(start, along, output=True)
        number = answer["primID"].astype(np.int64)
        return np.where(number < 0, -1, self._hittable[number]), answer["tfar"].astype(np.float64)

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
        near = np.array(self._tree.query_ball_point(np.asarray(point, dtype=np.float64), radius), dtype=np.int64)
        near = np.union1d(near[self._groups[near] == near], self._groups[face])
        pieces = connected_components(self._graph[near][:, near], directed=False)[1]
        painted = np.zeros(len(self._groups), dtype=bool)
        painted[near[pieces == pieces[np.searchsorted(near, self._groups[face])]]] = True
        return painted[self._groups]

    def stroke(self, touches: Sequence[Hit], radius: float) -> Faces:
        """What the brush paints at one place after the other."""
        painted = np.zeros(len(self._groups), dtype=bool)
        for hit in touches:
            painted |= self.brush(hit.face, hit.point, radius)
        return painted

    def rectangle(self, view: View, low: Sequence[float], high: Sequence[float], through: bool = False) -> Faces:
        """The faces whose centre is in a rectangle of the picture and is seen there.

        Args:
            view: how the browser looks.
            low, high: [2], the corners of the rectangle, in [0, 1] (`View.project`).
            through: also those that others hide.
        """
        places, in_front = view.project(self._centers)
        within = ((places >= np.array(low)) & (places <= np.array(high))).all(axis=1)
        inside = in_front & within & (self._groups == np.arange(len(places)))
        if not through:
            faces = np.flatnonzero(inside)
            first, distance = self._cast(view.position, self._centers[faces] - view.position)
            inside[faces] = (first == faces) | ((first >= 0) & (distance > 1 - 1e-4))
        return inside[self._groups]

    def grown(self, faces: Faces, rings: int) -> Faces:
        """Some faces and those around them, as many times as there are rings: each adds the faces that share an edge."""
        wider = np.zeros(len(faces), dtype=bool)
        wider[self._groups[faces]] = True
        for _ in range(rings):
            touched = self._pairs[wider[self._pairs].any(axis=1)]
            wider[touched] = True
        return wider[self._groups]

    def shrunk(self, faces: Faces, rings: int) -> Faces:
        """What is left of some faces when all others have grown. The border of an open surface stays."""
        return faces & ~self.grown(~faces, rings)

    def crease(self, face: int, degrees: float) -> Faces:
        """The faces that can be reached from one without crossing an edge bent by more than `degrees` (0 = flat)."""
        return self._flood(face, self._angles <= degrees)

    def material(self, face: int) -> Faces:
        """All faces whose texture has the image of this face's, as materials of a file have; and their twins.

        Raises:
            InputError: the shape has no texture.
        """
        if self._texture is None:
            raise InputError(f"shape {self._id} has no materials: use another tool")
        return self._as(self._texture.image_ids.numpy(), face)

    def region(self, face: int, tolerance: float) -> Faces:
        """The faces around one whose colour differs from its colour by at most `tolerance`, in [0, 1], in red, green and
        blue; a face's colour is the texture's at its centre.

        Raises:
            InputError: the shape has no texture.
        """
        alike = (np.abs(self._colours - self._colours[face]) <= tolerance).all(axis=1)
        alike[self._groups[face]] = True
        return self._flood(face, alike[self._pairs].all(axis=1))

    def object(self, face: int) -> Faces:
        """All faces of the object of the file that a face is in: of a node in glTF, of a group in OBJ; and their twins.

        Raises:
            InputError: the file has no objects, or one alone.
        """
        if self._objects is None or (self._objects == self._objects[0]).all():
            raise InputError(f"shape {self._id}: its file has no more than one object: use another tool")
        return self._as(self._objects, face)

    def _as(self, values: NDArray, face: int) -> Faces:
        """The faces of the same value as one, and the twins of such faces."""
        return np.isin(self._groups, self._groups[values == values[face]])

    @cached_property
    def _objects(self) -> NDArray[np.int64] | None:
        return None if self._read_objects is None else self._read_objects()

    @cached_property
    def _colours(self) -> NDArray[np.float64]:
        """float64 [F, 3] in [0, 1]."""
        if self._texture is None:
            raise InputError(f"shape {self._id} has no texture: use another tool")
        return sample_texture(self._texture, self._texture.image_ids, self._texture.uv.mean(dim=1)).double().numpy()

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self._centers)

    @cached_property
    def _graph(self) -> csr_array:
        """[F, F], which faces share an edge."""
        return self._joined(self._pairs)

    def middle_of_largest(self, faces: Faces, values: NDArray[np.int64] | None = None) -> int | None:
        """Of the connected pieces that some faces form, the one of the largest area: its face nearest to its middle.

        Args:
            faces: bool [F].
            values: int64 [F], faces of different ones are not connected; None: of no matter.

        Returns:
            index of the face; None if there are no faces.
        """
        lowest = faces & (self._groups == np.arange(len(faces)))
        if not lowest.any():
            return None
        joined = lowest[self._pairs].all(axis=1)
        if values is not None:
            joined &= values[self._pairs[:, 0]] == values[self._pairs[:, 1]]
        pieces = self._pieces(joined)
        areas = np.bincount(pieces, weights=np.where(lowest, self._areas, -1.0))
        piece = np.flatnonzero(lowest & (pieces == areas.argmax()))
        middle = np.average(self._centers[piece], axis=0, weights=self._areas[piece] + 1e-12)
        return int(piece[np.linalg.norm(self._centers[piece] - middle, axis=1).argmin()])

    def piece(self, face: int, faces: Faces) -> Faces:
        """The faces around one that can be reached through some faces alone, which it is one of."""
        joined = faces[self._pairs[:, 0]] & faces[self._pairs[:, 1]]
        return self._flood(face, joined)

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
        return connected_components(self._joined(self._pairs[open_pairs]), directed=False)[1]

    def _joined(self, pairs: NDArray[np.int64]) -> csr_array:
        """[F, F], an entry for each pair of faces."""
        rows, columns = pairs.T
        size = len(self._groups)
        return coo_array((np.ones(len(rows), dtype=np.int8), (rows, columns)), shape=(size, size)).tocsr()


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
