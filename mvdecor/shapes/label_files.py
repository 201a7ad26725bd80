"""Files of face labels beside a mesh: NumPy arrays, lines of text, and JSON; one label per triangle or per polygon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import read_json, text_of, write_array, write_atomically, write_json
from mvdecor.shapes.annotations import id_list
from mvdecor.shapes.shape import UNDETERMINED

ENDINGS = ("_labels.npy", "_labels.txt", ".seg", "_labels.seg", "_labels.json")
"""What follows a mesh's name in the name of its labels; the first is for labels that are new."""


def label_files_of(folder: Path, name: str) -> list[Path]:
    """All files that may be a mesh's labels; more than one is an error of `find_labels`."""
    return [folder / f"{name}{ending}" for ending in ENDINGS if (folder / f"{name}{ending}").exists()]


def find_labels(folder: Path, name: str) -> Path | None:
    """The file of a mesh's labels (`name` + one of `ENDINGS`), or None.

    Raises:
        InputError: there are several.
    """
    files = label_files_of(folder, name)
    if len(files) > 1:
        raise InputError(
            f"{folder}: {' and '.join(file.name for file in files)} both hold labels of {name}: keep one of them"
        )
    return files[0] if files else None


def read_face_labels(
    path: Path, num_faces: int, label_names: tuple[str, ...], polygons: Tensor | None = None
) -> Tensor:
    """Labels of a mesh, one per triangle or one per polygon of its file.

    Args:
        path: see `read_labels`.
        num_faces: triangles of the mesh.
        label_names: name of each label.
        polygons: int64 [num_faces], ascending: the polygon of each triangle (`Shape.polygons`); None if all are triangles.

    Returns:
        int64 [num_faces] in [-1, len(label_names)).

    Raises:
        InputError: see `read_labels`, or a count that is neither that of the triangles nor that of the polygons.
    """
    labels = torch.from_numpy(read_labels(path, label_names))
    if len(labels) == num_faces:
        return labels
    if polygons is None:
        raise InputError(
            f"{path}: {len(labels)} labels for a mesh of {num_faces} faces; write one label per face, in the file's order"
        )
    _, polygon = polygons.cpu().unique(return_inverse=True)
    count = int(polygon.max()) + 1
    if len(labels) != count:
        raise InputError(
            f"{path}: {len(labels)} labels for a mesh of {count} faces, which are read as {num_faces} triangles; write one "
            f"label per face of the file ({count}) or one per triangle ({num_faces}), in the file's order"
        )
    return labels[polygon]


def read_labels(path: Path, label_names: tuple[str, ...]) -> NDArray[np.int64]:
    """All labels of a file, as many as there are.

    `.npy`: an array of integers. `.txt` and `.seg`: one integer per line; empty lines and what follows # are left out.
    `.json`: a list, or {"labels": a list, "label_names": a list} as scripts/segment.py writes it. Its labels are integers,
    which count in the file's own "label_names" if it has any, or names. Negative integers and 255 are undetermined.

    Args:
        path: the file.
        label_names: names of the labels that are returned.

    Returns:
        int64 [N] in [-1, len(label_names)).

    Raises:
        InputError: an unreadable file, no integers, or a label that has no name.
    """
    if path.suffix == ".npy":
        labels = _read_array(path)
    elif path.suffix == ".json":
        return _read_json(path, label_names)
    else:
        labels = _read_lines(path)
    return _checked(path, labels, len(label_names), "the labels")


def write_labels(path: Path, labels: NDArray[Any], label_names: tuple[str, ...]) -> None:
    """Write labels [N] in the format of the file's ending, whole or not at all; `read_labels` reads them back.

    Raises:
        InputError: it cannot be written.
    """
    if path.suffix == ".npy":
        write_array(path, labels.astype(np.int16))
    elif path.suffix == ".json":
        write_json(path, {"label_names": list(label_names), "labels": labels.tolist()})
    else:
        write_atomically(path, "".join(f"{label}\n" for label in labels.tolist()).encode())


def _read_array(path: Path) -> NDArray[np.int64]:
    try:
        raw = np.load(path, mmap_mode="r", allow_pickle=False)  # a header's count alone allocates nothing
    except Exception as error:  # a damaged header makes numpy raise whatever its parsing stumbles over
        raise InputError(f"{path}: not a readable .npy file ({error}); write it with numpy.save") from error
    if not isinstance(raw, np.ndarray) or raw.ndim != 1 or raw.dtype.kind not in "iu":
        kind = f"{raw.dtype} {list(raw.shape)}" if isinstance(raw, np.ndarray) else "an archive"
        raise InputError(f"{path}: must hold integers [faces], one per face; it holds {kind}")
    return raw.astype(np.int64)


def _read_lines(path: Path) -> NDArray[np.int64]:
    try:
        lines = text_of(path.read_bytes()).split("\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); write one integer per line") from error
    labels = []
    for number, line in enumerate(lines, start=1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            labels.append(_whole(word))
        except (ValueError, OverflowError) as error:
            raise InputError(f"{path}, line {number}: {word[:40]!r} is no label; write one integer per line") from error
    return np.array(labels, dtype=np.int64)


def _whole(word: str) -> np.int64:
    """A whole number as text; also as numpy.savetxt writes one, 2.000000000000000000e+00."""
    if re.fullmatch(r"[+-]?\d+", word, re.ASCII):
        return np.int64(int(word))
    number = float(word)
    if not number.is_integer():
        raise ValueError(f"{number} is no whole number")
    return np.int64(int(number))


def _read_json(path: Path, label_names: tuple[str, ...]) -> NDArray[np.int64]:
    remedy = 'it should be {"label_names": [...], "labels": [one per face]}'
    content = read_json(path, remedy)
    values = content.get("labels") if isinstance(content, dict) else content
    if not isinstance(values, list):
        raise InputError(f"{path}: holds no list of labels; {remedy}")
    if values and all(isinstance(value, str) for value in values):
        names_in_file = tuple(dict.fromkeys(values))
        numbers = {name: number for number, name in enumerate(names_in_file)}
        labels = np.array([numbers[value] for value in values], dtype=np.int64)
    elif all(type(value) is int and abs(value) < 2**31 for value in values):
        json_names = content.get("label_names") if isinstance(content, dict) else None
        names_in_file = label_names if json_names is None else tuple(id_list(json_names, f"{path}, label_names"))
        labels = _checked(path, np.array(values, dtype=np.int64), len(names_in_file), 'its own "label_names"')
    else:
        raise InputError(f"{path}: its labels must all be integers or all be names; {remedy}")
    return _by_name(path, labels, names_in_file, label_names)


def _by_name(
    path: Path, labels: NDArray[np.int64], names_in_file: tuple[str, ...], label_names: tuple[str, ...]
) -> NDArray[np.int64]:
    """Labels that count in `names_in_file` as labels that count in `label_names`."""
    target = np.array(
        [label_names.index(name) if name in label_names else len(label_names) for name in names_in_file] + [-1]
    )
    mapped = target[labels]
    if (mapped == len(label_names)).any():
        name = names_in_file[int(labels[np.argmax(mapped == len(label_names))])]
        raise InputError(
            f"{path}: label name {name!r} is none of the data set's, {', '.join(label_names)}: add it there or correct it"
        )
    return mapped


def _checked(path: Path, labels: NDArray[np.int64], count: int, names: str) -> NDArray[np.int64]:
    labels = labels.copy()
    labels[labels < 0] = UNDETERMINED
    if count <= 255:  # beyond that 255 is a label like any other
        labels[labels == 255] = UNDETERMINED
    if len(labels) and labels.max() >= count:
        raise InputError(
            f"{path}: label {int(labels.max())} has no name, there are {count} label names in {names}; "
            "add the names or correct the labels (they count from 0; -1 or 255 is undetermined)"
        )
    return labels
