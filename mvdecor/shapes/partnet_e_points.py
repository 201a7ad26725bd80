"""Labelled points as PartNetE has them (`pc.ply`, `label.npy`)."""

from __future__ import annotations

import pickle
import re
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.shapes.part_trees import DOWNLOAD_SHAPE
from mvdecor.shapes.ply import read_ply
from mvdecor.shapes.shape import Shape

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
