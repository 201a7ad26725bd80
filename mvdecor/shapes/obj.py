"""Wavefront OBJ, read with every face in the file's order and one texture coordinate a corner.

General loaders split an OBJ by material and merge position and texture indices, so faces and vertices come out in
another order and number, and labels that lie beside the file as one value a face would slide. This reader keeps both.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError


@dataclass(frozen=True)
class ObjMesh:
    """What an OBJ file says, in its own order.

    Attributes:
        vertices: float64 [V, 3], the `v` lines.
        faces: int64 [F, 3], indices into `vertices`; polygons of more corners are fans (0, i, i+1) in place.
        uvs: float64 [T, 2], the `vt` lines.
        uv_faces: int64 [F, 3], indices into `uvs`, -1 at a corner that has none.
        materials: names of `usemtl` lines, in order of first use.
        material_ids: int64 [F], index into `materials`, -1 for faces before the first `usemtl`.
        libraries: file names of `mtllib` lines.
        polygon_ids: int64 [F], number of the `f` line of each face.
        colors: float64 [V, 3] in [0, 1], the numbers after the positions; None unless every `v` line has three.
        has_polygons: True if some face had more than three corners, so F is not the number of `f` lines.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    uvs: NDArray[np.float64]
    uv_faces: NDArray[np.int64]
    materials: tuple[str, ...]
    material_ids: NDArray[np.int64]
    libraries: tuple[str, ...]
    polygon_ids: NDArray[np.int64]
    colors: NDArray[np.float64] | None
    has_polygons: bool


@dataclass
class _Lines:
    """The lines that matter, still as text. `seen` holds, for each face, how many v and vt lines came before it."""

    positions: list[list[str]]
    colors: list[list[str]]
    uvs: list[list[str]]
    faces: list[list[str]]
    seen: list[tuple[int, int]]
    material_ids: list[int]
    materials: dict[str, int]
    libraries: list[str]


def read_obj(path: str | Path) -> ObjMesh:
    """Read an OBJ file; a file without faces gives arrays of length 0.

    Points, lines, normals, groups and smoothing are left out: they carry nothing that is used here.

    Raises:
        InputError: the file cannot be read or parsed, a face has fewer than three corners, or an index points nowhere.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    try:
        return _assemble(_sort_lines(text))
    except (ValueError, IndexError, OverflowError) as error:
        raise InputError(f"{path}: not a valid OBJ file ({error}); export or download it again") from error


def _sort_lines(text: str) -> _Lines:
    lines = _Lines([], [], [], [], [], [], {}, [])
    material = -1
    for line in text.replace("\\\r\n", " ").replace("\\\n", " ").split("\n"):
        fields = line.split()
        if not fields:
            continue
        key = fields[0]
        if key in ("v", "vt", "f") and "#" in line:
            fields = line.split("#", 1)[0].split()
        if key == "v":
            lines.positions.append(fields[1:4])
            if len(fields) == 7:
                lines.colors.append(fields[4:])
        elif key == "vt":
            lines.uvs.append(fields[1:3])
        elif key == "f":
            lines.faces.append(fields[1:])
            lines.seen.append((len(lines.positions), len(lines.uvs)))
            lines.material_ids.append(material)
        elif key == "usemtl":
            material = lines.materials.setdefault(line.strip()[len("usemtl") :].strip(), len(lines.materials))
        elif key == "mtllib":
            lines.libraries.append(line.strip()[len("mtllib") :].strip())
    return lines


def _assemble(lines: _Lines) -> ObjMesh:
    vertices = np.array(lines.positions, dtype=np.float64).reshape(len(lines.positions), 3)
    uvs = np.array(lines.uvs, dtype=np.float64).reshape(len(lines.uvs), 2)
    sizes = np.array([len(corners) for corners in lines.faces], dtype=np.int64)
    if (sizes < 3).any():
        raise ValueError(f"face {int(np.argmax(sizes < 3)) + 1} has {int(sizes[sizes < 3][0])} corners")
    raw = _corner_numbers(list(chain.from_iterable(lines.faces)))
    seen = np.repeat(np.array(lines.seen, dtype=np.int64).reshape(-1, 2), sizes, axis=0)
    corner_vertex = _resolve(raw[:, 0], seen[:, 0], len(vertices), "vertex")
    if (raw[:, 0] == 0).any():
        raise ValueError("a face refers to vertex 0; OBJ counts from 1")
    corner_uv = _resolve(raw[:, 1], seen[:, 1], len(uvs), "texture coordinate")
    triangles, polygon = fan_triangles(sizes)
    return ObjMesh(
        vertices=vertices,
        faces=corner_vertex[triangles],
        uvs=uvs,
        uv_faces=corner_uv[triangles],
        materials=tuple(lines.materials),
        material_ids=np.array(lines.material_ids, dtype=np.int64)[polygon],
        libraries=tuple(lines.libraries),
        polygon_ids=polygon,
        colors=_colors(lines),
        has_polygons=bool((sizes > 3).any()),
    )


def _colors(lines: _Lines) -> NDArray[np.float64] | None:
    if not lines.colors or len(lines.colors) < len(lines.positions):
        return None
    colors = np.array(lines.colors, dtype=np.float64)
    if not ((colors >= 0) & (colors <= 1)).all():  # of 255, or no colours at all: nobody can know
        warnings.warn("the numbers after the positions are not in [0, 1] and not taken for colours", stacklevel=2)
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


def _resolve(raw: NDArray[np.int64], seen: NDArray[np.int64], count: int, what: str) -> NDArray[np.int64]:
    """File numbers to indices: n -> n - 1; -n -> the n-th last of those seen before the face; 0 -> -1 (absent)."""
    index = np.where(raw < 0, seen + raw, raw - 1)
    bad = (raw != 0) & ((index < 0) | (index >= count))
    if bad.any():
        raise ValueError(f"a face refers to {what} {int(raw[bad][0])}, but there are {count}")
    return index


def fan_triangles(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Polygons to triangles, in place.

    Args:
        sizes: int64 [P], corners of each polygon, each at least 3; their corners lie one polygon after the other.

    Returns:
        int64 [F, 3] indices into the list of all corners, and int64 [F] the polygon of each triangle.
    """
    per_polygon = sizes - 2
    polygon = np.repeat(np.arange(len(sizes)), per_polygon)
    first_corner = np.cumsum(sizes) - sizes
    first_triangle = np.cumsum(per_polygon) - per_polygon
    start = first_corner[polygon]
    step = np.arange(len(polygon)) - first_triangle[polygon]
    return np.stack([start, start + step + 1, start + step + 2], axis=1).reshape(-1, 3), polygon
