"""Wavefront OBJ, read with every face in the file's order and one texture coordinate per corner.

General loaders split an OBJ by material and merge position and texture indices, so faces and vertices have
another order and number, and labels that lie beside the file as one value per face would slide. This reader keeps both.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.files import text_of
from mvdecor.shapes.polygons import cut_polygons

LEFT_OUT = ("curv", "curv2", "surf", "call", "csh", "bzp", "bsp", "cdc", "cdp", "res", "fo")
"""Statements that hold or fetch shapes and are not read: free-form curves and surfaces, other files, faces of old versions."""


@dataclass(frozen=True)
class ObjMesh:
    """What an OBJ file says, in its own order.

    Attributes:
        vertices: float64 [V, 3], the `v` lines.
        faces: int64 [F, 3], indices into `vertices`; polygons of more corners are cut in place (`cut_polygons`).
        uvs: float64 [T, 2], the `vt` lines.
        uv_faces: int64 [F, 3], indices into `uvs`, -1 at a corner that has none.
        materials: names of `usemtl` lines, in order of first use.
        material_ids: int64 [F], index into `materials`, -1 for faces before the first `usemtl`.
        object_ids: int64 [F], number of the object of each face: of the name of the `o` line before it, or, in a file without
            any, of the `g` line; 0 for faces before the first.
        libraries: file names of `mtllib` lines.
        polygon_ids: int64 [F], number of the `f` line of each face.
        colors: float64 [V, 3] in [0, 1], the numbers after the positions; None unless every `v` line has them.
        has_polygons: True if some face had more than three corners, so F is not the number of `f` lines.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uvs: NDArray[np.float64]
    uv_faces: NDArray[np.int64]
    materials: tuple[str, ...]
    material_ids: NDArray[np.int64]
    object_ids: NDArray[np.int64]
    libraries: tuple[str, ...]
    polygon_ids: NDArray[np.int64]
    colors: NDArray[np.float64] | None
    has_polygons: bool


@dataclass
class _Lines:
    """The lines that matter, still as text. `seen` holds, for each face, how many v and vt lines came before it,
    and `object_ids` the number of the `o` line's name, and of the `g` line's."""

    positions: list[list[str]]
    colors: list[list[str]]
    uvs: list[list[str]]
    faces: list[list[str]]
    seen: list[tuple[int, int]]
    material_ids: list[int]
    object_ids: dict[str, list[int]]
    materials: dict[str, int]
    libraries: list[str]
    left_out: dict[str, None]


def read_obj(path: str | Path) -> ObjMesh:
    """Read an OBJ file; a file without faces gives arrays of length 0.

    Points, lines, normals and smoothing are left out: they carry nothing that is used here. Free-form surfaces and
    calls of other files are left out with a warning.

    Raises:
        InputError: the file cannot be read or parsed, a face has fewer than three corners, or an index points nowhere.
    """
    path = Path(path)
    try:
        text = text_of(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    try:
        return _assemble(_sort_lines(text), path)
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: not a valid OBJ file ({error}); export or download it again") from error


def _sort_lines(text: str) -> _Lines:
    lines = _Lines([], [], [], [], [], [], {"o": [], "g": []}, {}, [], {})
    material = -1
    names: dict[str, dict[str, int]] = {"o": {"": 0}, "g": {"": 0}}
    current = {"o": 0, "g": 0}
    text = re.sub(
        r"^[ \t]*#.*", "", text, flags=re.MULTILINE
    )  # whole lines first: a path in a comment may end in a backslash
    for line in re.sub(r"\\[ \t]*\n", " ", text).split("\n"):
        fields = line.split()
        if not fields:
            continue
        key = fields[0]
        if key in ("v", "vt", "f") and "#" in line:
            fields = line.split("#", 1)[0].split()
        if key == "v":
            lines.positions.append(fields[1:4])
            if len(fields) in (7, 8):  # some programs write alpha too
                lines.colors.append(fields[4:7])
        elif key == "vt":
            lines.uvs.append(fields[1:3])
        elif key == "f":
            lines.faces.append(fields[1:])
            lines.seen.append((len(lines.positions), len(lines.uvs)))
            lines.material_ids.append(material)
            for kind, number in current.items():
                lines.object_ids[kind].append(number)
        elif key == "usemtl":
            material = lines.materials.setdefault(" ".join(fields[1:]), len(lines.materials))
        elif key in current:
            current[key] = names[key].setdefault(" ".join(fields[1:]), len(names[key]))
        elif key == "mtllib":
            lines.libraries.append(line.strip()[len("mtllib") :].strip())
        elif key in LEFT_OUT:
            lines.left_out[key] = None
    return lines


def _assemble(lines: _Lines, path: Path) -> ObjMesh:
    if lines.left_out:
        warnings.warn(f"{path}: its statements {', '.join(lines.left_out)} are left out", stacklevel=3)
    vertices = np.array(lines.positions, dtype=np.float64).reshape(len(lines.positions), 3)
    uvs = np.array([uv if len(uv) > 1 else [*uv, "0"] for uv in lines.uvs], dtype=np.float64).reshape(len(lines.uvs), 2)
    sizes = np.array([len(corners) for corners in lines.faces], dtype=np.int64)
    if (sizes < 3).any():
        raise ValueError(f"face {int(np.argmax(sizes < 3)) + 1} has {int(sizes[sizes < 3][0])} corners")
    raw = _corner_numbers(list(chain.from_iterable(lines.faces)))
    read_before = np.repeat(np.array(lines.seen, dtype=np.int64).reshape(-1, 2), sizes, axis=0)
    corner_vertex = _resolve(raw[:, 0], read_before[:, 0], len(vertices), "vertex")
    if (raw[:, 0] == 0).any():
        raise ValueError("a face refers to vertex 0; OBJ counts from 1")
    corner_uv = _resolve(raw[:, 1], read_before[:, 1], len(uvs), "texture coordinate")
    triangles, polygon = cut_polygons(vertices, corner_vertex, sizes)
    return ObjMesh(
        vertices=vertices,
        faces=corner_vertex[triangles],
        uvs=uvs,
        uv_faces=corner_uv[triangles],
        materials=tuple(lines.materials),
        material_ids=np.array(lines.material_ids, dtype=np.int64)[polygon],
        object_ids=np.array(lines.object_ids["o" if any(lines.object_ids["o"]) else "g"], dtype=np.int64)[polygon],
        libraries=tuple(lines.libraries),
        polygon_ids=polygon,
        colors=_colors(lines, path),
        has_polygons=bool((sizes > 3).any()),
    )


def _colors(lines: _Lines, path: Path) -> NDArray[np.float64] | None:
    if not lines.colors:
        return None
    if len(lines.colors) < len(lines.positions):
        fraction = f"{len(lines.colors)} of {len(lines.positions)}"
        warnings.warn(f"{path}: only {fraction} vertices have a colour: their colours are left out", stacklevel=4)
        return None
    colors = np.array(lines.colors, dtype=np.float64)
    if not ((colors >= 0) & (colors <= 1)).all():  # of 255, or no colours at all: nobody can know
        message = "the numbers after the positions are not in [0, 1] and not taken for colours"
        warnings.warn(f"{path}: {message}", stacklevel=4)
        return None
    return colors


def _corner_numbers(corners: list[str]) -> NDArray[np.int64]:
    """int64 [C, 2]: position and texture numbers as written in corners p, p/t, p//n or p/t/n; 0 where absent."""
    if not any("/" in corner for corner in corners):
        positions = np.array([int(corner) for corner in corners], dtype=np.int64)
        return np.stack([positions, np.zeros_like(positions)], axis=1)
    parts = [corner.split("/") for corner in corners]
    numbers = [(int(part[0]), int(part[1]) if len(part) > 1 and part[1] else 0) for part in parts]
    return np.array(numbers, dtype=np.int64)


def _resolve(raw: NDArray[np.int64], read_before: NDArray[np.int64], count: int, kind: str) -> NDArray[np.int64]:
    """File numbers to indices: n -> n - 1; -n -> the n-th last of those seen before the face; 0 -> -1 (absent)."""
    index = np.where(raw < 0, read_before + raw, raw - 1)
    invalid = (raw != 0) & ((index < 0) | (index >= count))
    if invalid.any():
        raise ValueError(f"a face refers to {kind} {int(raw[invalid][0])}, but there are {count}")
    return index
