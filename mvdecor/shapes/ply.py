"""PLY files: text or binary of either byte order, polygons of any size, colours and textures."""

from __future__ import annotations

import os
import re
import struct
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import named_file, unquoted
from mvdecor.shapes.polygons import Mesh, checked_corners, cut_polygons
from mvdecor.shapes.shape import Texture
from mvdecor.shapes.texture import byte_colours, complete_texture, read_image

List = tuple[NDArray[np.int64], NDArray]
"""A list property: how many values each row has, and all values one after the other."""

TYPES = {
    **{"char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4"},
    **{"int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4"},
    **{"float": "f4", "double": "f8", "float32": "f4", "float64": "f8", "int64": "i8", "uint64": "u8"},
}
COLOURS = (("red", "green", "blue"), ("r", "g", "b"), ("diffuse_red", "diffuse_green", "diffuse_blue"))
COORDINATES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"), ("texture_s", "texture_t"))
CORNERS = ("vertex_indices", "vertex_index")
OTHER_SURFACES = ("tristrips", "range_grid")


@dataclass(frozen=True)
class Property:
    """A property of an element.

    Attributes:
        name: as in the header.
        type: numpy's name of how a value is stored, which for text is float64.
        count: the same of a list's number of values; None for what is no list.
        stated: numpy's name of the type that the header states.
    """

    name: str
    type: str
    count: str | None
    declared_type: str


@dataclass
class Element:
    """An element of the header, and what its rows hold once they are read: by property an array or a `List`."""

    name: str
    rows: int
    properties: list[Property] = field(default_factory=list)
    scalars: dict[str, NDArray] = field(default_factory=dict)
    lists: dict[str, List] = field(default_factory=dict)


def read_ply(path: Path, texture_size: int | None, textures: bool) -> Mesh:
    """What a PLY file says; arguments as of `read_mesh`.

    Raises:
        InputError: a missing image, or several images without a `texnumber` property.
        ValueError: not a PLY file, damaged, or with elements that cannot be read.
    """
    elements, images, start, form, content = _read_header(path.read_bytes())
    if form == "ascii":
        # as if it were binary: every number in float64
        content = np.array([float(word) for word in content[start:].split()], dtype=np.float64).tobytes()
        start, order = 0, "<"
        for element in elements:
            element.properties = [Property(p.name, "f8", p.count and "f8", p.declared_type) for p in element.properties]
    else:
        order = "<" if form == "binary_little_endian" else ">"
    for element in elements:
        start = _read_rows(element, content, start, order)
    if start < len(content):
        if form == "ascii":
            raise ValueError("it holds more numbers than its header says")
        warnings.warn(f"{path}: {len(content) - start} bytes after its elements are left out", stacklevel=2)
    by_name = {element.name: element for element in reversed(elements)}
    for name in OTHER_SURFACES:
        if name in by_name and by_name[name].rows:
            raise ValueError(f"its element {name!r} cannot be read, only faces")
    vertex, face = by_name.get("vertex"), by_name.get("face")
    if vertex is None or not {"x", "y", "z"} <= vertex.scalars.keys():
        raise ValueError("it has no vertices with x, y and z")
    vertices = np.stack([vertex.scalars[axis].astype(np.float64) for axis in "xyz"], axis=1)
    if face is None or face.rows == 0:
        return vertices, np.empty((0, 3), dtype=np.int64), None, None
    sizes, corners = _face_corners(face, len(vertices))
    triangles, polygon = cut_polygons(vertices, corners, sizes)
    texture = (
        _texture(path, vertex, face, corners, sizes, triangles, polygon, images, texture_size) if textures else None
    )
    return vertices, corners[triangles], texture, polygon if (sizes > 3).any() else None


def _read_header(content: bytes) -> tuple[list[Element], list[str], int, str, bytes]:
    """Elements, names of images, where the rows start, the format, and the content without a byte order mark."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    line_end = re.search(rb"\r\n|\n|\r", content)
    if line_end is None or content[: line_end.start()].strip() != b"ply":
        raise ValueError("it does not begin with a line 'ply'")
    elements: list[Element] = []
    images: list[str] = []
    form, start = "", line_end.end()
    while True:
        stop = content.find(line_end[0], start)
        if stop < 0:
            raise ValueError("its header does not end")
        line = content[start:stop].decode("utf-8", errors="surrogateescape").strip()
        start = stop + len(line_end[0])
        words = line.split()
        if line == "end_header":
            break
        if words[:1] == ["format"] and len(words) > 1:
            form = words[1]
        elif words[:1] == ["element"]:
            elements.append(Element(words[1], int(words[2])))
        elif words[:1] == ["property"]:
            elements[-1].properties.append(_property(words[1:]))
        elif image := re.fullmatch(r"comment\s+texturefile\s+(.+)", line, re.IGNORECASE):
            images.append(unquoted(image[1].strip()))
    if form not in ("ascii", "binary_little_endian", "binary_big_endian"):
        raise ValueError(f"its format {form!r} is unknown")
    return elements, images, start, form, content


def _property(words: list[str]) -> Property:
    count = None
    if words[0] == "list":
        count, words = words[1], words[2:]
    for word in (words[0], count):
        if word is not None and word not in TYPES:
            raise ValueError(f"it has a property of the unknown type {word!r}")
    return Property(words[1], TYPES[words[0]], count and TYPES[count], TYPES[words[0]])


def _read_rows(element: Element, content: bytes, start: int, order: str) -> int:
    """Fill in the values of an element whose rows begin at `start`; where they end."""
    properties = element.properties
    if len({p.name for p in properties}) < len(properties):
        raise ValueError(f"its element {element.name!r} has two properties of one name")
    if element.rows < 0 or not properties:
        if element.rows > 0:
            raise ValueError(f"its element {element.name!r} has no properties")
        return start
    lists = [p for p in properties if p.count]
    # most files have as many values in all rows as in the first
    counts = np.zeros((1, 0), dtype=np.int64)
    if lists and element.rows:
        _, counts = _walk(element, content, start, order, 1)
    row = _row_type(properties, counts[0] if element.rows else [0] * len(lists), order)
    if element.rows * row.itemsize <= len(content) - start:
        values = np.frombuffer(content, dtype=row, count=element.rows, offset=start)
        if all((values[f"count {p.name}"] == counts[0, k]).all() for k, p in enumerate(lists) if element.rows):
            for p in properties:
                if p.count:
                    width = values[p.name].shape[1]
                    element.lists[p.name] = np.full(element.rows, width), values[p.name].reshape(-1)
                else:
                    element.scalars[p.name] = values[p.name]
            return start + values.nbytes
    elif not lists:
        raise ValueError(f"it ends before its {element.rows} rows of {element.name!r}")
    starts, counts = _walk(element, content, start, order, element.rows)
    _gather(element, content, starts[:-1], counts, order)
    return int(starts[-1])


def _row_type(properties: list[Property], counts: NDArray[np.int64] | list[int], order: str) -> np.dtype:
    """The type of a row whose lists have so many values each."""
    fields: list[tuple] = []
    numbers = iter(counts)
    for p in properties:
        if p.count:
            fields += [(f"count {p.name}", order + p.count), (p.name, order + p.type, (int(next(numbers)),))]
        else:
            fields.append((p.name, order + p.type))
    return np.dtype(fields)


def _walk(
    element: Element, content: bytes, start: int, order: str, rows: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """int64 [rows + 1], where each row begins and the last one ends; int64 [rows, L], how many values its lists have."""
    skips, skip = [], 0  # bytes before each list
    readers, widths = [], []
    for p in element.properties:
        if p.count:
            reader = struct.Struct(order + np.dtype(p.count).char)
            skips.append(skip)
            readers.append(reader)
            widths.append(np.dtype(p.type).itemsize)
            skip = 0
        else:
            skip += np.dtype(p.type).itemsize
    starts, counts = [start], []
    for _ in range(rows):
        numbers = []
        for before, reader, width in zip(skips, readers, widths):
            start += before
            if start + reader.size > len(content):
                raise ValueError(f"it ends before its {element.rows} rows of {element.name!r}")
            (number,) = reader.unpack_from(content, start)
            if not number >= 0 or number != int(number):
                raise ValueError(f"a list of its element {element.name!r} has {number} values")
            numbers.append(int(number))
            start += reader.size + int(number) * width
        start += skip
        starts.append(start)
        counts.append(numbers)
    if start > len(content):
        raise ValueError(f"it ends before its {element.rows} rows of {element.name!r}")
    return np.array(starts, dtype=np.int64), np.array(counts, dtype=np.int64).reshape(rows, len(readers))


def _gather(element: Element, content: bytes, starts: NDArray[np.int64], counts: NDArray[np.int64], order: str) -> None:
    """Fill in the values of an element whose rows differ in length: all rows of one length at a time."""
    raw = np.frombuffer(content, dtype=np.uint8)
    lists = [p for p in element.properties if p.count]
    for p in element.properties:
        if not p.count:
            element.scalars[p.name] = np.empty(element.rows, dtype=order + p.type)
    for k, p in enumerate(lists):
        element.lists[p.name] = counts[:, k], np.empty(int(counts[:, k].sum()), dtype=order + p.type)
    places = np.cumsum(counts, axis=0) - counts
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    for number, lengths in enumerate(kinds):
        rows = np.flatnonzero(kind.reshape(-1) == number)
        row = _row_type(element.properties, lengths, order)
        values = raw[starts[rows][:, None] + np.arange(row.itemsize)].reshape(-1).view(row)
        for name, scalar in element.scalars.items():
            scalar[rows] = values[name]
        for k, p in enumerate(lists):
            element.lists[p.name][1][places[rows, k][:, None] + np.arange(lengths[k])] = values[p.name]


def _face_corners(face: Element, num_vertices: int) -> List:
    """How many corners each face has, and all of them one after the other."""
    name = next((name for name in (*CORNERS, *face.lists) if name in face.lists), None)
    if name is None:
        raise ValueError("its faces have no list of vertices")
    sizes, values = face.lists[name]
    return sizes, checked_corners(sizes, values, num_vertices)


def _texture(
    path: Path,
    vertex: Element,
    face: Element,
    corners: NDArray[np.int64],
    sizes: NDArray[np.int64],
    triangles: NDArray[np.int64],
    polygon: NDArray[np.int64],
    names: list[str],
    texture_size: int | None,
) -> Texture | None:
    """Images where a face has one and texture coordinates; else colours of vertices, of faces, or `DEFAULT_COLOUR`."""
    uv = _corner_coordinates(path, vertex, face, corners, sizes) if names else None
    colours = _corner_colours(path, vertex, face, corners, sizes)
    if names and uv is None:
        warnings.warn(
            f"{path}: names the image {names[0]!r}, but has no texture coordinates: it is left out", stacklevel=4
        )
    if uv is None and colours is None:
        return None
    images: list[Tensor] = []
    image_ids = np.full(len(triangles), -1)
    face_uv = np.zeros((len(triangles), 3, 2))
    if uv is not None:
        has_uv = np.isfinite(uv[triangles]).all(axis=(1, 2))
        image_ids[has_uv] = _image_numbers(path, face, names)[polygon[has_uv]]
        face_uv = uv[triangles]
        images = [read_image(_image_file(name, path), texture_size) for name in names]
    return complete_texture(face_uv, images, image_ids, None if colours is None else colours[triangles])


def _corner_coordinates(
    path: Path, vertex: Element, face: Element, corners: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.float64] | None:
    """float64 [C, 2], texture coordinates of each corner, inf where it has none; None if the file has none at all."""
    if "texcoord" in face.lists:
        lengths, values = face.lists["texcoord"]
        if ((lengths != 2 * sizes) & (lengths > 0)).any():
            raise ValueError("the texture coordinates of a face are not two for each corner")
        uv = np.full((len(corners), 2), np.inf)
        uv[np.repeat(lengths > 0, sizes)] = _finite(values, path).reshape(-1, 2)
        return uv
    for names in COORDINATES:
        if all(name in vertex.scalars for name in names):
            uv = np.stack([vertex.scalars[name] for name in names], axis=1).astype(np.float64)
            return _finite(uv[corners], path)
    return None


def _finite(uv: NDArray, path: Path) -> NDArray:
    if not np.isfinite(uv).all():
        raise InputError(f"{path}: some texture coordinates are NaN or infinite; export it again")
    return uv


def _image_numbers(path: Path, face: Element, names: list[str]) -> NDArray[np.int64]:
    """int64 [P], the image of each polygon, -1 for none."""
    if "texnumber" not in face.scalars:
        if len(names) > 1:
            raise InputError(
                f"{path}: has several textures ({', '.join(names)}) and no property 'texnumber' that says which face has "
                "which; export it again as OBJ or GLB"
            )
        return np.zeros(face.rows, dtype=np.int64)
    numbers = face.scalars["texnumber"].astype(np.int64)
    if (numbers >= len(names)).any():
        raise InputError(
            f"{path}: a face has the texture number {int(numbers.max())}, but it names {len(names)} textures; export it again"
        )
    return numbers.clip(-1)


def _image_file(name: str, path: Path) -> Path:
    file = named_file(name, path, (".", "tex"))
    if not os.path.isfile(file):
        raise InputError(f"{path}: {file}, which it names, is missing; put it there")
    return file


def _corner_colours(
    path: Path, vertex: Element, face: Element, corners: NDArray[np.int64], sizes: NDArray[np.int64]
) -> NDArray[np.uint8] | None:
    """uint8 [C, 3], the colour of each corner; None if the file has no colours."""
    of_vertices, of_faces = (_colours(path, element) for element in (vertex, face))
    if of_vertices is None:
        return None if of_faces is None else np.repeat(of_faces, sizes, axis=0)
    colours = of_vertices[corners]
    if of_faces is not None and not np.array_equal(np.repeat(of_faces, sizes, axis=0), colours):
        warnings.warn(
            f"{path}: has colours of vertices and others of faces: those of the faces are left out", stacklevel=5
        )
    return colours


def _colours(path: Path, element: Element) -> NDArray[np.uint8] | None:
    for names in COLOURS:
        if all(name in element.scalars for name in names):
            types = {p.declared_type for p in element.properties if p.name in names}
            values = np.stack([element.scalars[name] for name in names], axis=1)
            if types == {"u1"} and ((values >= 0) & (values <= 255)).all():  # text may hold others
                return values.astype(np.uint8)
            return byte_colours(values.astype(np.float64), path)
    return None
