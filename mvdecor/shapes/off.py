"""OFF files: OFF, COFF, NOFF, CNOFF, STOFF, 4OFF and what else combines these letters, as text."""

from __future__ import annotations

import re
import warnings
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.files import text_of
from mvdecor.shapes.polygons import Mesh, checked_corners, cut_polygons
from mvdecor.shapes.shape import Texture
from mvdecor.shapes.texture import byte_colours, complete_texture

HEADER = re.compile(r"((?:ST|C|N|4|n)*)OFF|()off(?![a-z])")


def read_off(path: Path, textures: bool) -> Mesh:
    """What an OFF file says; `textures=False` leaves its colours out.

    Colours of vertices (COFF) go before those of faces. Normals are left out, and so are texture coordinates, since the
    format knows no images.

    Raises:
        ValueError: not an OFF file, binary, of another dimension, or damaged.
    """
    content = path.read_bytes()
    kind, lines = _lines(content)
    (num_vertices, num_faces), lines = _counts(kind, lines)
    if len(lines) < num_vertices + num_faces:
        raise ValueError(f"it ends before its {num_vertices} vertices and {num_faces} faces, one per line")
    if len(lines) > num_vertices + num_faces:
        left_out = len(lines) - num_vertices - num_faces
        warnings.warn(f"{path}: {left_out} lines after its faces are left out", stacklevel=2)
    points, rows = lines[:num_vertices], lines[num_vertices : num_vertices + num_faces]
    vertices = _positions(kind, points)
    if num_faces == 0:
        return vertices, np.empty((0, 3), dtype=np.int64), None, None
    sizes = np.array([int(row[0]) for row in rows], dtype=np.int64)
    if any(len(row) <= size for row, size in zip(rows, sizes)):
        raise ValueError("a face has fewer corners than it says")
    values = np.array(list(chain.from_iterable(row[1 : 1 + size] for row, size in zip(rows, sizes))), dtype=np.int64)
    corners = checked_corners(sizes, values, num_vertices)
    triangles, polygon = cut_polygons(vertices, corners, sizes)
    texture = None
    if textures:
        colours = _vertex_colours(path, kind, points)
        if colours is not None:
            texture = _coloured(colours[corners[triangles]])
        else:
            face_colours, has_colour = _face_colours(path, rows, sizes)
            if has_colour.any():
                texture = _coloured(face_colours[polygon][:, None].repeat(3, axis=1), has_colour[polygon])
    return vertices, corners[triangles], texture, polygon if (sizes > 3).any() else None


def _lines(content: bytes) -> tuple[str, list[list[str]]]:
    """The letters before OFF, and the words of each line that holds any, after the header."""
    text = re.sub("#.*", "", text_of(content)).strip()
    header = HEADER.match(text)
    if header is None:
        raise ValueError("it does not begin with OFF")
    body = text[header.end() :]
    if re.match(r"[ \t]*BINARY", body):
        raise ValueError("binary OFF cannot be read, only text")
    return header[1] or "", [line.split() for line in body.split("\n") if line.strip()]


def _counts(kind: str, lines: list[list[str]]) -> tuple[tuple[int, int], list[list[str]]]:
    """Numbers of vertices and faces, and the lines after them."""
    if not lines:
        raise ValueError("it ends before the counts")
    if "n" in kind:  # the dimension comes first, on a line of its own or not
        dimension, lines = lines[0][0], [line for line in (lines[0][1:], *lines[1:]) if line]
        if dimension != "3" or "4" in kind:
            raise ValueError(f"{kind}OFF with vertices of dimension {dimension} cannot be read, only of three")
    # some files have the counts on the line of the header, even without a space; the number of edges may be missing
    num_vertices, num_faces = int(lines[0][0]), int(lines[0][1])
    if num_vertices < 0 or num_faces < 0:
        raise ValueError("its counts are negative")
    return (num_vertices, num_faces), lines[1:]


def _positions(kind: str, points: list[list[str]]) -> NDArray[np.float64]:
    """float64 [V, 3]; the fourth number of a 4OFF divides the others."""
    width = 4 if "4" in kind else 3
    if any(len(point) < width for point in points):
        raise ValueError(f"a vertex has fewer than {width} coordinates")
    values = np.array([point[:width] for point in points], dtype=np.float64).reshape(-1, width)
    with np.errstate(divide="ignore", invalid="ignore"):  # points at infinity are refused with a message of their own
        return values[:, :3] / values[:, 3:] if width == 4 else values


def _vertex_colours(path: Path, kind: str, points: list[list[str]]) -> NDArray[np.uint8] | None:
    """uint8 [V, 3]: in a line come position, normal, colour, texture coordinates, each if the header's letters say so."""
    width = 4 if "4" in kind else 3
    before = width * (2 if "N" in kind else 1)
    after = 2 if "ST" in kind else 0
    lengths = {len(point) - before - after for point in points}
    if "C" not in kind:
        if lengths - {0}:
            warnings.warn(
                f"{path}: numbers after its vertices, of which {kind}OFF knows none, are left out", stacklevel=3
            )
        return None
    if not lengths <= {3, 4}:
        raise ValueError(
            f"the vertices of {kind}OFF have {before} numbers, then 3 or 4 of their colour; one has others"
        )
    return byte_colours(np.array([point[before : before + 3] for point in points], dtype=np.float64), path)


def _face_colours(
    path: Path, rows: list[list[str]], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """uint8 [P, 3], the colour of each face; bool [P], which faces have one."""
    extra = np.array([len(row) for row in rows]) - 1 - sizes
    has_colour = (extra == 3) | (extra == 4)
    if ((extra > 0) & ~has_colour).any():
        warnings.warn(f"{path}: numbers after its faces that are no colour of 3 or 4 are left out", stacklevel=3)
    colours = np.zeros((len(rows), 3), dtype=np.uint8)
    numbers = [rows[k][1 + sizes[k] : 4 + sizes[k]] for k in np.flatnonzero(has_colour)]
    values = byte_colours(np.array(numbers, dtype=np.float64).reshape(-1, 3), path) if numbers else None
    if values is None:
        return colours, np.zeros(len(rows), dtype=bool)
    colours[has_colour] = values
    return colours, has_colour


def _coloured(colours: NDArray[np.uint8], coloured: NDArray[np.bool_] | None = None) -> Texture:
    """Texture of faces that have colours of corners (uint8 [F, 3, 3]), all or some (bool [F]), and no images."""
    return complete_texture(np.zeros((len(colours), 3, 2)), [], np.full(len(colours), -1), colours, coloured)
