"""Templates: a closed mesh of a category, with named vertices and what becomes of it in the mirror."""

from __future__ import annotations

import io
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from torch import Tensor
from trimesh.triangles import closest_point, points_to_barycentric

from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes.folder import read_mesh
from mvdecor.shapes.shape import Shape

Array = NDArray[np.float64]

MOST_VERTICES = 20_000  # a network says three numbers for each
ASYMMETRY = 0.05  # of the radius: greatest distance of a mirrored vertex from the surface


@dataclass(frozen=True)
class Mirror:
    """Where each vertex of a symmetric template lies in its mirror image: a point of the surface.

    A value of the vertices, mirrored, is `(weights * values[vertices]).sum(1)`.

    Attributes:
        axis: 0, 1 or 2, the axis that the mirror turns around; its plane is in the middle of the bounding box.
        vertices: int64 [V, 3], corners of the face on which the mirrored vertex lies.
        weights: float32 [V, 3], barycentric.
        error: greatest distance of a mirrored vertex from the surface, in radii.
    """

    axis: int
    vertices: Tensor
    weights: Tensor
    error: float

    def of(self, values: Tensor) -> Tensor:
        """[V, D] values of the vertices, as the mirrored template has them."""
        return (self.weights[..., None].to(values) * values[self.vertices]).sum(dim=1)


@dataclass(frozen=True)
class Template:
    """A closed mesh of one piece.

    Attributes:
        shape: in the unit sphere; with face labels if they are known.
        keypoints: the vertex of each named point.
        mirror: None if the mesh is not symmetric.
    """

    shape: Shape
    keypoints: dict[str, int]
    mirror: Mirror | None


def read_template(path: str | Path, keypoints: str | Path | None = None) -> Template:
    """A template of any mesh file.

    Beside it, a JSON file of its name may give {"keypoints": {name: vertex}, "label_names": [...], "face_labels": [...]}, each
    optional.

    Args:
        path: the mesh.
        keypoints: another file of keypoints: JSON {name: vertex}, or a pickled dictionary of names and vertices.

    Raises:
        InputError: an unreadable file, a mesh that is open, of several pieces or too large, keypoints or labels that do not
            fit.
    """
    path = Path(path)
    shape = read_mesh(path, textures=False)
    check_closed(shape)
    about = path.with_suffix(".json")
    content: Any = read_json(about, "it should be an object with keypoints") if about.is_file() else {}
    if not isinstance(content, dict):
        raise InputError(f"{about}: should be an object with keypoints, label_names and face_labels")
    if "face_labels" in content:
        labels = content["face_labels"]
        if not isinstance(labels, list) or not all(isinstance(label, int) for label in labels):
            raise InputError(f"{about}: face_labels must be whole numbers")
        names = tuple(str(name) for name in content.get("label_names", ()))
        shape = replace(shape, face_labels=torch.tensor(labels, dtype=torch.int64), label_names=names)
    named = content.get("keypoints", {}) if keypoints is None else read_keypoints(Path(keypoints))
    return Template(
        shape.normalized(), _checked(named, len(shape.vertices), Path(keypoints or about)), find_mirror(shape)
    )


def check_closed(shape: Shape) -> None:
    """Raise InputError unless every edge belongs to two faces that run along it in opposite directions, in one piece."""
    faces = shape.faces.cpu().numpy()
    count = len(shape.vertices)
    if count > MOST_VERTICES:
        raise InputError(f"template {shape.id} has {count} vertices, at most {MOST_VERTICES} are allowed: simplify it")
    start, end = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).T
    forward = np.unique(start * count + end, return_counts=True)
    backward = np.unique(end * count + start)
    unmatched = len(np.setxor1d(forward[0], backward)) // 2 + int((forward[1] > 1).sum())
    if unmatched:
        raise InputError(
            f"template {shape.id} is not closed: {unmatched} edges do not belong to two faces of one orientation: fill its "
            "holes, and merge vertices that lie in one place"
        )
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(count, count))
    used_vertices = np.unique(faces)
    pieces = len(np.unique(connected_components(graph, directed=False)[1][used_vertices]))
    if pieces > 1 or len(used_vertices) < count:
        raise InputError(
            f"template {shape.id} has {pieces} pieces and {count - len(used_vertices)} vertices without a face: keep one piece"
        )


def find_mirror(shape: Shape) -> Mirror | None:
    """The mirror along the axis of least error, if that is below `ASYMMETRY`."""
    vertices, faces = shape.vertices.double().cpu().numpy(), shape.faces.cpu().numpy()
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    radius = float(np.linalg.norm(vertices - (low + high) / 2, axis=1).max())
    best: Mirror | None = None
    for axis in range(3):
        mirrored = vertices.copy()
        mirrored[:, axis] = low[axis] + high[axis] - mirrored[:, axis]
        face, weights, distance = closest_points(mirrored, vertices[faces])
        error = float(distance.max()) / radius
        if error <= (ASYMMETRY if best is None else best.error):
            corners = torch.from_numpy(faces[face])
            best = Mirror(axis, corners, torch.from_numpy(weights).float(), error)
    return best


def closest_points(points: Array, triangles: Array) -> tuple[NDArray[np.int64], Array, Array]:
    """The nearest of triangles [F, 3, 3] for points [P, 3]: its index [P], barycentric coordinates [P, 3], distance [P].

    A triangle is no nearer than its middle less its radius: only those that may be as near as the nearest corner are measured.
    """
    middles = triangles.mean(axis=1)
    radius = float(np.linalg.norm(triangles - middles[:, None], axis=2).max())
    reach = cKDTree(triangles.reshape(-1, 3)).query(points)[0] + radius
    near = cKDTree(middles).query_ball_point(points, reach * (1 + 1e-9))
    point = np.repeat(np.arange(len(points)), [len(faces) for faces in near])
    face = np.concatenate(near).astype(np.int64)
    weights, distance = _nearest_on(points[point], triangles[face])
    order = np.lexsort((face, distance, point))
    first = order[np.searchsorted(point, np.arange(len(points)))]
    return face[first], weights[first], distance[first]


def _nearest_on(points: Array, triangles: Array) -> tuple[Array, Array]:
    """Barycentric coordinates [Q, 3] and distance [Q] of the point of each triangle [Q, 3, 3] nearest to its point [Q, 3]."""
    nearest = closest_point(triangles, points)
    return points_to_barycentric(triangles, nearest).clip(0, 1), np.linalg.norm(nearest - points, axis=1)


def read_keypoints(path: Path) -> Any:
    """What a JSON file or a pickled dictionary of names and numbers holds; a pickle that names any code is refused."""
    if path.suffix.lower() not in (".pkl", ".pickle"):
        return read_json(path, "it should be {name: vertex}")
    try:
        return _PlainUnpickler(io.BytesIO(path.read_bytes())).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give {{name: vertex}} as JSON") from error
    except Exception as error:  # damaged pickles raise whatever they stumble over
        raise InputError(f"{path}: is not a pickled dictionary of names and vertices ({error})") from error


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _checked(keypoints: Any, vertices: int, source: Path) -> dict[str, int]:
    if not isinstance(keypoints, dict):
        raise InputError(f"{source}: keypoints must be {{name: vertex}}")
    for name, vertex in keypoints.items():
        if not isinstance(name, str) or not isinstance(vertex, int) or not 0 <= vertex < vertices:
            raise InputError(
                f"{source}: keypoint {name!r} is {vertex!r}; the template has vertices 0 to {vertices - 1}"
            )
    return dict(keypoints)
