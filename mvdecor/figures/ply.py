"""Labelled meshes as PLY files, which every mesh viewer opens."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.figures.palette import LIGHT_GREY, colours_of, label_palette
from mvdecor.files import write_atomically
from mvdecor.shapes.shape import UNDETERMINED, Shape

RESERVED = {"vertex_indices", "vertex_index", "red", "green", "blue", "alpha", "label", "corners", "colour", "n"}


def write_ply(
    path: Path | str,
    shape: Shape,
    face_labels: Tensor | None = None,
    face_colours: Tensor | np.ndarray | None = None,
    scalars: Mapping[str, Tensor] | None = None,
    vertex_colours: bool = True,
) -> None:
    """Write a shape as a binary PLY, faces in the shape's own order, with labels and colours.

    Each face has `red green blue`, with labels an int `label` (names in lines `comment label 3 = hand`; -1 is
    undetermined), and a float property for each of `scalars`. Many viewers show only the colours of vertices, so by
    default each face also gets three vertices of its own that carry its colour: face f is vertices 3f, 3f+1, 3f+2.
    Names are in ASCII, as a PLY header must be, and as JSON writes them: `comment label 3 = F\\u00fc\\u00dfe`.
    Vertices are float, or double if the shape's are float64. The file appears complete or not at all; parents are created.

    Args:
        path: the file.
        shape: the mesh. Its own `face_labels` are not written unless given.
        face_labels: int64 [F], values in [-1, len(shape.label_names)).
        face_colours: uint8 [F, 3], RGB; by default the colours of the labels (`label_palette`), or light grey.
        scalars: float [F] by name, e.g. {"confidence": ...}.
        vertex_colours: False keeps the shape's shared vertices, which then have no colour.

    Raises:
        InputError: if an array does not have one row per face, a label has no name, a scalar's name cannot be a property,
            or the file cannot be written.
    """
    scalars = {} if scalars is None else scalars
    _check_rows(shape, face_labels, face_colours, scalars)
    labels = None if face_labels is None else _numpy(face_labels).astype(np.int64)
    colours = _face_colours(shape, labels) if face_colours is None else _numpy(face_colours).astype(np.uint8)
    vertices = _vertices(shape, colours if vertex_colours else None)
    faces = np.zeros(shape.num_faces, dtype=_face_type(labels is not None, tuple(scalars)))
    faces["n"] = 3
    faces["corners"] = np.arange(3 * len(faces)).reshape(-1, 3) if vertex_colours else _numpy(shape.faces)
    faces["colour"] = colours
    if labels is not None:
        faces["label"] = labels
    for name, values in scalars.items():
        faces[name] = _numpy(values)
    names = [written_name(name) for name in shape.label_names] if labels is not None else []
    header = _header(names, vertices, len(faces), labels is not None, tuple(scalars))
    write_atomically(path, header.encode() + vertices.tobytes() + faces.tobytes())


def written_name(name: str) -> str:
    """A label's name as a PLY header can hold it: in ASCII, on one line."""
    text = json.dumps(" ".join(name.split()))[1:-1]
    return text.replace("end_header", "end\\u005fheader")  # many readers take any line with this word for the last


def _header(names: list[str], vertices: np.ndarray, faces: int, labels: bool, scalars: tuple[str, ...]) -> str:
    rgb = ["property uchar red", "property uchar green", "property uchar blue"]
    lines = ["ply", "format binary_little_endian 1.0", "comment mvdecor labelled mesh"]
    lines += [f"comment label {k} = {name}" for k, name in enumerate(names)]
    number = "double" if vertices.dtype["position"].base == np.float64 else "float"
    lines += [f"element vertex {len(vertices)}", *(f"property {number} {axis}" for axis in "xyz")]
    lines += rgb if "colour" in (vertices.dtype.names or ()) else []
    lines += [f"element face {faces}", "property list uchar int vertex_indices", *rgb]
    lines += ["property int label"] if labels else []
    lines += [f"property float {name}" for name in scalars]
    return "\n".join([*lines, "end_header", ""])


def _vertex_type(double: bool, colour: bool) -> np.dtype:
    fields: list[tuple] = [("position", "<f8" if double else "<f4", 3)]
    return np.dtype([*fields, ("colour", "u1", 3)] if colour else fields)


def _face_type(labels: bool, scalars: tuple[str, ...]) -> np.dtype:
    fields: list[tuple] = [("n", "u1"), ("corners", "<i4", 3), ("colour", "u1", 3)]
    fields += [("label", "<i4")] if labels else []
    return np.dtype(fields + [(name, "<f4") for name in scalars])


def _vertices(shape: Shape, colours: np.ndarray | None) -> np.ndarray:
    """The shape's vertices, or with colours three of each face's own."""
    positions = _numpy(shape.vertices)
    kind = _vertex_type(positions.dtype == np.float64, colours is not None)
    if colours is None:
        vertices = np.zeros(len(positions), dtype=kind)
        vertices["position"] = positions
        return vertices
    vertices = np.zeros(3 * shape.num_faces, dtype=kind)
    vertices["position"] = positions[_numpy(shape.faces).reshape(-1)]
    vertices["colour"] = colours.repeat(3, axis=0)
    return vertices


def _face_colours(shape: Shape, labels: np.ndarray | None) -> np.ndarray:
    if labels is None:
        return np.full((shape.num_faces, 3), LIGHT_GREY, dtype=np.uint8)
    return colours_of(labels, label_palette(len(shape.label_names)))


def _check_rows(
    shape: Shape, labels: Tensor | None, colours: Tensor | np.ndarray | None, scalars: Mapping[str, Tensor]
) -> None:
    count = shape.num_faces
    if labels is not None:
        if labels.shape != (count,):
            raise InputError(f"shape {shape.id}: labels {list(labels.shape)} for {count} faces; one per face is needed")
        if int(labels.min()) < UNDETERMINED or int(labels.max()) >= len(shape.label_names):
            raise InputError(
                f"shape {shape.id}: labels {int(labels.min())}..{int(labels.max())} cannot be written with "
                f"{len(shape.label_names)} label names; give the shape its label_names"
            )
    if colours is not None and tuple(colours.shape) != (count, 3):
        raise InputError(f"shape {shape.id}: colours {list(colours.shape)} for {count} faces; give [F, 3]")
    for name, values in scalars.items():
        if values.shape != (count,):
            raise InputError(f"shape {shape.id}: {name} {list(values.shape)} for {count} faces; one per face is needed")
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII) or name in RESERVED:
            raise InputError(f"shape {shape.id}: {name!r} cannot name a face property; choose a plain, unused word")


def _numpy(values: Tensor | np.ndarray) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else values
