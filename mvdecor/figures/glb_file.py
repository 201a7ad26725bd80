"""Writer of GLB (binary glTF 2.0) files: the JSON and the bytes that it refers to."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

JsonObject = dict[str, Any]

COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
VERTICES, INDICES = 34962, 34963
"""What a buffer view is for."""


class Glb:
    """A GLB file with one buffer.

    Args:
        tree: the JSON to extend, with its buffer views in `data`; None begins an empty scene.

    Attributes:
        tree: the JSON.
    """

    def __init__(self, tree: JsonObject | None = None) -> None:
        self.tree: JsonObject = {"asset": {"version": "2.0", "generator": "mvdecor"}} if tree is None else tree
        self._data = bytearray()

    def add(self, kind: str, entry: JsonObject) -> int:
        """Append to a list of the JSON, such as "nodes"; gives the item's number."""
        entries = self.tree.setdefault(kind, [])
        entries.append(entry)
        return len(entries) - 1

    def store(self, content: bytes) -> JsonObject:
        """Append bytes; gives the fields of a buffer view for them."""
        self._data += bytes(-len(self._data) % 4)
        start = len(self._data)
        self._data += content
        return {"buffer": 0, "byteOffset": start, "byteLength": len(content)}

    def accessor(self, values: NDArray[Any], target: int, **fields: Any) -> int:
        """Append an accessor of an array [N] or [N, components]; gives its number.

        Args:
            values: of one of the types in `COMPONENTS`; N > 0.
            target: `VERTICES` or `INDICES`.
            fields: further ones, such as normalized=True.
        """
        rows = values.reshape(len(values), -1)
        columns = np.ascontiguousarray(rows.T)  # whose extremes are found several times faster
        properties = {
            "componentType": COMPONENTS[values.dtype.str[1:]],
            "count": len(rows),
            "type": TYPES[rows.shape[1]],
            "min": columns.min(axis=1).tolist(),
            "max": columns.max(axis=1).tolist(),
        }
        return self.add("accessors", {"bufferView": self.rows(rows, target), **properties, **fields})

    def rows(self, values: NDArray[Any], target: int) -> int:
        """Append a buffer view of rows [N, components]; gives its number. Rows of vertices begin at multiples of 4 bytes."""
        size = values.itemsize * values.shape[1]
        stride = size + -size % 4 if target == VERTICES else size
        padded = np.zeros((len(values), stride), dtype=np.uint8)
        padded[:, :size] = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), size)
        spaced = {"byteStride": stride} if stride != size else {}
        return self.add("bufferViews", {**self.store(padded.tobytes()), **spaced, "target": target})

    def image(self, name: str, content: bytes, kind: str = "image/png") -> int:
        """Append an image file; gives the number of the image."""
        view = self.add("bufferViews", self.store(content))
        return self.add("images", {"name": name, "mimeType": kind, "bufferView": view})

    def content(self) -> bytes:
        """The file."""
        self.tree.pop("buffers", None)
        if self._data:
            self._data += bytes(-len(self._data) % 4)
            self.tree["buffers"] = [{"byteLength": len(self._data)}]
        # "\udc80" and the like, of names that are no text, cannot be encoded
        text = json.dumps(self.tree, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        if self._data:
            chunks += struct.pack("<I4s", len(self._data), b"BIN\0") + bytes(self._data)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


def matt(name: str, **colour: Any) -> JsonObject:
    """A material without gloss that shows both sides: windings of CAD meshes are not to be trusted.

    Without a material programs take the default one, which is a metal: nearly black where nothing is reflected.

    Args:
        name: of the material.
        colour: baseColorFactor (linear RGBA) or baseColorTexture.
    """
    surface = {**colour, "metallicFactor": 0.0, "roughnessFactor": 1.0}
    return {"name": name, "pbrMetallicRoughness": surface, "doubleSided": True}
