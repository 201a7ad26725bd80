"""Labelled points as PartNetE has them (`pc.ply`, `label.npy`), and how their labels come to the faces of a mesh."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.part_trees import DOWNLOAD_SHAPE
from mvdecor.shapes.ply import read_ply
from mvdecor.shapes.shape import UNDETERMINED, Shape

REACH = 0.02
"""How far from a face a point may lie that labels it, in diagonals of the mesh's bounding box."""
SPACING = 0.005
"""Distance of the places on faces that are compared with points, in diagonals of the bounding box."""
BOX_TOLERANCE = 0.05
"""How far the sides of the bounding boxes of points and mesh may lie apart, in diagonals."""


def read_points(path: Path) -> NDArray[np.float64]:
    """float64 [P, 3], the vertices of a PLY file.

    Raises:
        InputError: missing or damaged file, no points, or points that are not finite.
    """
    try:
        points = read_ply(path, None, textures=False)[0]
    except (OSError, ValueError, IndexError, OverflowError, MemoryError) as error:
        raise InputError(f"{path}: cannot be read as points ({error}); {DOWNLOAD_SHAPE}") from error
    if len(points) == 0 or not np.isfinite(points).all():
        fault = "has points that are NaN or infinite" if len(points) else "has no points"
        raise InputError(f"{path}: {fault}; {DOWNLOAD_SHAPE}")
    return points


def read_point_labels(path: Path, num_points: int, part_names: tuple[str, ...]) -> NDArray[np.int64]:
    """int64 [num_points], "semantic_seg" of a `label.npy`: the number of each point's part, -1 for points of no part.

    The file is a pickled dictionary of arrays. It is read by `_LabelUnpickler`, which takes arrays of numbers apart and
    builds nothing else, so that no code of the file is run.

    Raises:
        InputError: the file is missing or damaged, asks for anything else than such a dictionary, or its labels do not fit
            the points or the part names.
    """
    try:
        with path.open("rb") as stream:
            if np.lib.format.read_magic(stream) != (1, 0):
                raise ValueError("its version of the .npy format is not 1.0")
            shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            if dtype != np.dtype(object) or shape != ():
                raise ValueError(f"it holds {dtype} {list(shape)} and no dictionary")
            content = _LabelUnpickler(stream).load()
        labels = _semantic_labels(content)
    except Exception as error:  # a damaged pickle makes the unpickler raise whatever it stumbles over
        reason = getattr(error, "strerror", None) or error
        form = "a numpy file of one dictionary with an array of integers 'semantic_seg'"
        raise InputError(f"{path}: cannot be read ({reason}); it should be {form}; {DOWNLOAD_SHAPE}") from error
    if len(labels) != num_points:
        raise InputError(f"{path}: {len(labels)} labels for {num_points} points of pc.ply; {DOWNLOAD_SHAPE}")
    if labels.min() < -1 or labels.max() >= len(part_names):
        raise InputError(
            f"{path}: labels span {labels.min()}..{labels.max()}, but there are {len(part_names)} part names in "
            f"PartNetE_meta.json (allowed: -1 for no part, then 0 up); {DOWNLOAD_SHAPE}"
        )
    return labels


class _Dtype:
    """What a pickle says of an array's type."""

    def __init__(self, name: str, *_: Any) -> None:
        self.name, self.order = name, "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = state[1]


class _Array:
    """What a pickle says of an array: its numbers are bytes, or a list of objects."""

    def __setstate__(self, state: tuple) -> None:
        _, self.shape, self.dtype, _, self.content = state


def _reconstruct(*_: Any) -> _Array:
    return _Array()


class _LabelUnpickler(pickle.Unpickler):
    """Reads pickled arrays into `_Array` and `_Dtype`; every other class or function is refused."""

    ALLOWED: ClassVar = {
        ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
        ("numpy._core.multiarray", "_reconstruct"): _reconstruct,  # numpy 2
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        if (module_name, global_name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}, which is not allowed in labels")
        return self.ALLOWED[module_name, global_name]


def _semantic_labels(content: Any) -> NDArray[np.int64]:
    """The labels of what `_LabelUnpickler` read: an array of one dictionary."""
    entries = content.content if isinstance(content, _Array) else None
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise ValueError("it holds no dictionary")
    array = entries[0].get("semantic_seg")
    if not isinstance(array, _Array):
        raise ValueError("its 'semantic_seg' is missing or no array")
    if not re.fullmatch(r"[iu][1248]|f[48]", array.dtype.name) or array.dtype.order not in ("<", ">", "|", "="):
        raise ValueError("its 'semantic_seg' holds no numbers")
    values = np.frombuffer(array.content, dtype=np.dtype(array.dtype.name).newbyteorder(array.dtype.order))
    if array.shape != (len(values),) or len(values) == 0:
        raise ValueError("its 'semantic_seg' is not one number per point")
    if not (np.abs(values) < 2**31).all() or (values != np.round(values)).any():  # -1.0 and 2.0 are as good as integers
        raise ValueError("its 'semantic_seg' holds no integers")
    return values.astype(np.int64)


def check_frame(shape: Shape, points: NDArray[np.float64], path: Path) -> None:
    """Raise InputError unless the bounding boxes of points and mesh agree: then they are in one frame.

    Args:
        shape: the mesh.
        points: float64 [P, 3].
        path: the file of the points.
    """
    corners = shape.vertices[shape.faces.reshape(-1)].double().numpy()
    box, box_of_points = (np.stack([places.min(axis=0), places.max(axis=0)]) for places in (corners, points))
    if np.abs(box - box_of_points).max() > BOX_TOLERANCE * np.linalg.norm(box[1] - box[0]):
        mesh_box, points_box = (
            " to ".join(str(end.round(3).tolist()) for end in ends) for ends in (box, box_of_points)
        )
        raise InputError(
            f"{path}: its points reach from {points_box}, the mesh of model {shape.id} from {mesh_box}: they are not in "
            "one frame; take points and meshes of the same model at rest, or leave it out with data.on_error=skip"
        )


def labels_of_faces(shape: Shape, points: NDArray[np.float64], labels: NDArray[np.int64], num_labels: int) -> Tensor:
    """The most frequent label among the points that lie on each face; of equally frequent ones the lowest.

    A point lies on the face that is nearest to it, if that is nearer than `REACH`. A face without such a point takes the
    label of the point nearest to it if that is nearer than `REACH`, and is undetermined otherwise: nobody has seen it. Faces
    with the same three corners have the same label. The distance to a face is that to the nearest of places on it which
    are `SPACING` apart.

    Args:
        shape: the mesh.
        points: float64 [P, 3], in the mesh's frame.
        labels: int64 [P] in [0, num_labels).
        num_labels: C.

    Returns:
        int64 [F] in [-1, C).
    """
    corners = shape.vertices[shape.faces].double().numpy()
    diagonal = float(np.linalg.norm(np.ptp(corners.reshape(-1, 3), axis=0)))
    places, owner = _places_on_faces(corners, SPACING * diagonal)
    group = shape.twin_groups.numpy()
    distance, nearest = cKDTree(places).query(points)
    near = distance <= REACH * diagonal
    votes = np.bincount(group[owner[nearest[near]]] * num_labels + labels[near], minlength=len(group) * num_labels)
    votes = votes.reshape(len(group), num_labels)
    voted = votes.sum(axis=1) > 0
    result = np.where(voted, votes.argmax(axis=1), UNDETERMINED)

    unvoted = ~voted[owner]
    places, owner = places[unvoted], owner[unvoted]
    distance, nearest = cKDTree(points).query(places)
    by_distance = np.lexsort((distance, owner))
    faces, first = np.unique(owner[by_distance], return_index=True)
    best = by_distance[first]
    result[faces] = np.where(distance[best] <= REACH * diagonal, labels[nearest[best]], UNDETERMINED)
    return torch.from_numpy(result[group])


def _places_on_faces(corners: NDArray[np.float64], spacing: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Places all over faces [F, 3, 3], about `spacing` apart and at least the centre of each; the face of each place.

    The places of a face are a sequence of low discrepancy (Roberts 2018, "The unreasonable effectiveness of quasirandom
    sequences": steps of the plastic number's powers), folded from the parallelogram to the triangle.
    """
    first, second, third = corners.transpose(1, 0, 2)
    edges = np.linalg.norm(np.stack([second - first, third - second, first - third]), axis=-1)
    areas = np.linalg.norm(np.cross(second - first, third - first), axis=-1) / 2
    counts = np.ceil(np.maximum(areas / spacing**2, edges.max(axis=0) / spacing)).clip(min=1).astype(np.int64)
    owner = np.repeat(np.arange(len(corners)), counts)
    number = np.arange(len(owner)) - np.repeat(counts.cumsum() - counts, counts)
    weights = (1 / 3 + number[:, None] * np.array([0.7548776662466927, 0.5698402909980532])) % 1
    weights = np.where(weights.sum(axis=1, keepdims=True) > 1, 1 - weights, weights)
    u, v = weights.T[..., None]
    return first[owner] + u * (second - first)[owner] + v * (third - first)[owner], owner
