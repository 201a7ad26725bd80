"""The container of glTF 2.0: its JSON, buffers, buffer views and accessors, compressed or not.

Plain `json` and NumPy: libraries for glTF in Python hand out the JSON as objects, but do not resolve accessors (strides,
sparse values, normalized integers), which is all the work there is.
"""

from __future__ import annotations

import base64
import json
import math
import os
import struct
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.files import named_file, text_of

DTYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5124: "<i4", 5125: "<u4", 5126: "<f4", 5130: "<f8"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
MESHOPT = ("EXT_meshopt_compression", "KHR_meshopt_compression")
MOST_ZEROS = 10_000_000
"""Most elements of an accessor that states no data: a file of some bytes must not allocate what it only claims."""
MOST_EXPANSION = 4096
"""Bytes that one byte of meshopt's codecs may become; they reach 1024 at most."""

JsonObject = dict[str, Any]


class GltfFile:
    """A glTF 2.0 file, `.gltf` or `.glb` (told apart by content). Buffers are read when they are asked for.

    Attributes:
        path: of the file, which error messages name.
        json: its JSON.

    Raises:
        InputError: at construction, if it is no glTF 2.0.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error
        self._binary: bytes | None = None
        text = content
        if content[:4] == b"glTF":
            text, self._binary = self._chunks(content)
        try:
            self.json = json.loads(text_of(text))
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}: its JSON is damaged ({error}); export it again") from error
        if not isinstance(self.json, dict):
            raise InputError(f"{path}: its JSON is no glTF; export it again")
        asset = self.json.get("asset", {})
        version = str(asset.get("minVersion", asset.get("version", "2.0")))
        if version != "2.0":
            raise InputError(f"{path}: is glTF {version}, and only 2.0 is read; export it again as glTF 2.0")
        self._buffers: dict[int, bytes] = {}
        self._views: dict[int, NDArray[np.uint8]] = {}
        self._accessors: dict[int, NDArray[Any]] = {}

    def _chunks(self, content: bytes) -> tuple[bytes, bytes | None]:
        """JSON and binary chunk of a GLB file; chunks of other types are left out, as the format wants it."""
        if len(content) < 20:
            raise InputError(f"{self.path}: ends before its JSON; export or download it again")
        version, length = struct.unpack_from("<II", content, 4)
        if version != 2:
            raise InputError(f"{self.path}: is GLB version {version}, and only 2 is read; export it again as glTF 2.0")
        if length > len(content):
            raise InputError(f"{self.path}: is cut off: {len(content)} bytes of {length}; export or download it again")
        chunks, position = [], 12
        while position + 8 <= length:
            size, kind = struct.unpack_from("<I4s", content, position)
            if position + 8 + size > len(content):
                raise InputError(f"{self.path}: is cut off in a chunk; export or download it again")
            chunks.append((kind, content[position + 8 : position + 8 + size]))
            position += 8 + size
        if not chunks or chunks[0][0] != b"JSON":
            raise InputError(f"{self.path}: its first chunk is not JSON; export it again")
        binary = next((body for kind, body in chunks[1:] if kind == b"BIN\0"), None)
        return chunks[0][1], binary

    @cached_property
    def required(self) -> list[str]:
        """Names of the extensions that the file cannot be read without."""
        return list(self.json.get("extensionsRequired", []))

    def items(self, kind: str) -> list[JsonObject]:
        """Every item of a list of the JSON, such as "nodes"; none where there is no such list."""
        return self.json.get(kind, [])

    def item(self, kind: str, number: int) -> JsonObject:
        """An item of a list of the JSON.

        Raises:
            InputError: there is no item of that number.
        """
        entries = self.items(kind)
        if not isinstance(number, int) or not 0 <= number < len(entries):
            raise InputError(f"{self.path}: refers to {kind}[{number!r}] of {len(entries)}; export it again")
        return entries[number]

    def resource(self, uri: str, role: str) -> bytes:
        """Bytes of a data URI, or of a file beside this one by its name, percent-encoded or plain.

        Raises:
            InputError: a missing file, or one outside of this file's folder.
        """
        if uri[:5].lower() == "data:":
            header, _, body = uri.partition(",")
            unquoted = unquote_to_bytes(body)
            return base64.b64decode(unquoted + b"===") if header.lower().endswith(";base64") else unquoted
        if "://" in uri:
            raise InputError(
                f"{self.path}: its {role} is {uri!r}, not a file beside it; download it and name that file"
            )
        file = named_file(unquote(uri), self.path)
        if not os.path.isfile(file):
            as_written = self.path.parent / os.path.basename(uri)  # some exporters do not encode names with a %
            file = as_written if os.path.isfile(as_written) else file
        try:
            return file.read_bytes()
        except FileNotFoundError as error:
            raise InputError(f"{self.path}: {file}, its {role}, is missing; put it there") from error
        except (OSError, ValueError) as error:
            raise InputError(f"{self.path}: {file}, its {role}, cannot be read ({error}); put it there") from error

    def _buffer(self, number: int) -> bytes:
        if number not in self._buffers:
            uri = self.item("buffers", number).get("uri")
            if uri is not None:
                self._buffers[number] = self.resource(uri, f"buffers[{number}]")
            elif number == 0 and self._binary is not None:
                self._buffers[number] = self._binary
            else:
                raise InputError(f"{self.path}: buffers[{number}] has no data; export it again")
        return self._buffers[number]

    def _slice(self, view: JsonObject, subject: str) -> NDArray[np.uint8]:
        """The bytes that a buffer view, or its compressed form, refers to."""
        buffer = self._buffer(view["buffer"])
        start, length = _whole(view.get("byteOffset", 0)), _whole(view["byteLength"])
        if start + length > len(buffer):
            raise InputError(f"{self.path}: {subject} ends behind its buffer ({start + length} of {len(buffer)} bytes)")
        return np.frombuffer(buffer, dtype=np.uint8, count=length, offset=start) if length else np.empty(0, np.uint8)

    def view(self, number: int) -> NDArray[np.uint8]:
        """Bytes of a buffer view, decompressed.

        Raises:
            InputError: a view that leaves its buffer, or that cannot be decompressed.
        """
        if number not in self._views:
            view = self.item("bufferViews", number)
            extensions = view.get("extensions", {})
            name = next((name for name in MESHOPT if name in extensions), None)
            if name is None:
                self._views[number] = self._slice(view, f"bufferViews[{number}]")
            else:
                self._views[number] = self._meshopt(extensions[name], f"{name} of bufferViews[{number}]")
        return self._views[number]

    def _meshopt(self, view: JsonObject, subject: str) -> NDArray[np.uint8]:
        try:
            import meshopt
        except ImportError as error:
            raise InputError(
                f"{self.path}: is compressed ({subject}); pip install meshopt, or export it without"
            ) from error
        compressed = self._slice(view, subject)
        count, stride = _whole(view["count"]), _whole(view["byteStride"])
        if count * stride > MOST_EXPANSION * (len(compressed) + 1):
            raise InputError(
                f"{self.path}: {subject} claims {count} elements in {len(compressed)} bytes; export it again"
            )
        try:
            rows = meshopt.decode_gltf_buffer(
                compressed.tobytes(), count, stride, view["mode"], view.get("filter", "NONE")
            )
        except (ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"{self.path}: {subject} is damaged ({error}); export it again") from error
        return np.ascontiguousarray(rows).view(np.uint8).reshape(-1)

    def accessor(self, number: int) -> NDArray[Any]:
        """Values [count, components] of an accessor: sparse values in place, normalized integers as float64 in [-1, 1].

        Raises:
            InputError: a type that is unknown, or values that are not all there.
        """
        if number not in self._accessors:
            accessor = self.item("accessors", number)
            subject = f"accessors[{number}]"
            count = _whole(accessor["count"])
            dtype, width = self.dtype(accessor, subject), self._width(accessor, subject)
            if "bufferView" in accessor:
                values = self._elements(accessor, count, dtype, width, subject)
            elif count <= MOST_ZEROS:
                values = np.zeros((count, width), dtype=dtype)
            else:
                raise InputError(f"{self.path}: {subject} claims {count} elements without data; export it again")
            if "sparse" in accessor:
                values = self._with_sparse(values, accessor["sparse"], subject)
            self._accessors[number] = normalized(values) if accessor.get("normalized") else values
        return self._accessors[number]

    def _with_sparse(self, values: NDArray[Any], sparse: JsonObject, subject: str) -> NDArray[Any]:
        subject = f"the sparse part of {subject}"
        count, places = _whole(sparse["count"]), sparse["indices"]
        positions = self._elements(places, count, self.dtype(places, subject), 1, subject)[:, 0].astype(np.int64)
        if len(positions) and (positions.min() < 0 or positions.max() >= len(values)):
            raise InputError(
                f"{self.path}: {subject} refers to element {positions.max()} of {len(values)}; export it again"
            )
        values = values.copy()
        values[positions] = self._elements(sparse["values"], count, values.dtype, values.shape[1], subject)
        return values

    def dtype(self, accessor: JsonObject, subject: str) -> np.dtype:
        """The type of an accessor's numbers as they are stored.

        Raises:
            InputError: a type that is unknown.
        """
        if accessor["componentType"] not in DTYPES:
            raise InputError(f"{self.path}: {subject} has the unknown component type {accessor['componentType']!r}")
        return np.dtype(DTYPES[accessor["componentType"]])

    def _width(self, accessor: JsonObject, subject: str) -> int:
        if accessor["type"] not in WIDTHS:
            raise InputError(
                f"{self.path}: {subject} has the type {accessor['type']!r}, which nothing that is read here has"
            )
        return WIDTHS[accessor["type"]]

    def _elements(self, accessor: JsonObject, count: int, dtype: np.dtype, width: int, subject: str) -> NDArray[Any]:
        """Elements [count, width] of a buffer view, `byteStride` apart."""
        view_bytes = self.view(accessor["bufferView"])
        size = dtype.itemsize * width
        stride = _whole(self.item("bufferViews", accessor["bufferView"]).get("byteStride", 0)) or size
        start = _whole(accessor.get("byteOffset", 0))
        if count == 0:
            return np.empty((0, width), dtype=dtype)
        if start + stride * (count - 1) + size > len(view_bytes):
            raise InputError(
                f"{self.path}: {subject} needs {start + stride * (count - 1) + size} bytes, and its buffer view has "
                f"{len(view_bytes)}; export it again"
            )
        return np.ndarray((count, width), dtype, view_bytes.data, start, (stride, dtype.itemsize))

    def draco(self, extension: JsonObject, subject: str) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
        """Faces [F, 3] and values [V, components] of each attribute of a primitive that KHR_draco_mesh_compression holds.

        Raises:
            InputError: data that cannot be decompressed, or an attribute that is not in it.
        """
        import DracoPy

        subject = f"KHR_draco_mesh_compression of {subject}"
        try:
            mesh = DracoPy.decode(self.view(extension["bufferView"]).tobytes())
            faces = np.asarray(mesh.faces, dtype=np.int64).reshape(-1, 3)
        except InputError:
            raise
        except Exception as error:  # its decoder raises errors of several kinds
            raise InputError(f"{self.path}: {subject} is damaged ({error}); export it again") from error
        by_id = {attribute["unique_id"]: attribute["data"] for attribute in mesh.attributes}
        values = {}
        for name, number in extension["attributes"].items():
            if number not in by_id:
                raise InputError(f"{self.path}: {subject} lacks {name}; export it again")
            values[name] = np.asarray(by_id[number]).reshape(len(by_id[number]), -1)
        return faces, values


def normalized(values: NDArray[Any]) -> NDArray[np.float64]:
    """Integers as the numbers in [0, 1] or [-1, 1] that they stand for; floats as they are."""
    if values.dtype.kind == "f":
        return values
    return np.maximum(values / np.iinfo(values.dtype).max, -1.0)


def _whole(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} is no count")
    if value < 0 or value != int(value):
        raise ValueError(f"{value!r} is no count")
    return int(value)
