"""A plain writer of glTF files for tests: it writes what it is told, right or wrong."""

from __future__ import annotations

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TYPES = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
COMPONENTS = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
MESHOPT = "EXT_meshopt_compression"


class GltfWriter:
    """Collects the JSON and one buffer.

    Attributes:
        json: lists of items; `add` appends to them, anything else is set by hand.
        data: of buffers[0].
    """

    def __init__(self, **json_items: Any) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, **json_items}
        self.data = bytearray()

    def add(self, kind: str, item: dict[str, Any]) -> int:
        """Append an item to a list of the JSON; returns its number."""
        self.json.setdefault(kind, []).append(item)
        return len(self.json[kind]) - 1

    def use(self, *extensions: str, required: bool = False) -> None:
        for kind in ("extensionsUsed", "extensionsRequired") if required else ("extensionsUsed",):
            self.json[kind] = sorted({*self.json.get(kind, []), *extensions})

    def _place(self, data: bytes) -> dict[str, int]:
        self.data += bytes(-len(self.data) % 4)
        start = len(self.data)
        self.data += data
        return {"buffer": 0, "byteOffset": start, "byteLength": len(data)}

    def view(self, data: bytes, **fields: Any) -> int:
        return self.add("bufferViews", {**self._place(data), **fields})

    def accessor(self, values: Any, dtype: str = "f4", normalized: bool = False, pad: int = 0, **fields: Any) -> int:
        """Values [N] or [N, components]. `pad` bytes before each row make the view interleaved; strides are multiples of 4."""
        values = np.asarray(values).astype(f"<{dtype}").reshape(len(values), -1)
        item = self._item(values, dtype, normalized, fields)
        row = values.shape[1] * values.itemsize
        stride = pad + row + (-(pad + row) % 4 if values.shape[1] > 1 else 0)
        rows = np.full((len(values), stride), 0xA5, dtype=np.uint8)
        rows[:, pad : pad + row] = np.ascontiguousarray(values).view(np.uint8).reshape(len(values), -1)
        view = self.view(rows.tobytes(), **({"byteStride": stride} if stride != row else {}))
        return self.add("accessors", {**item, "bufferView": view, **({"byteOffset": pad} if pad else {})})

    def sparse(self, values: Any, dtype: str = "f4", normalized: bool = False, base: bool = True) -> int:
        """As `accessor`, with every second row stored apart; without `base` the others are 0 and not stored."""
        values = np.asarray(values).astype(f"<{dtype}").reshape(len(values), -1)
        at = np.arange(1, len(values), 2) if base else np.flatnonzero(values.any(axis=1))
        item = self._item(values, dtype, normalized, {})
        item["sparse"] = {
            "count": len(at),
            "indices": {"bufferView": self.view(at.astype("<u2").tobytes()), "componentType": 5123},
            "values": {"bufferView": self.view(values[at].tobytes())},
        }
        if base:
            stored = values.copy()
            stored[at] = 99
            number = self.accessor(stored, dtype, normalized)
            item["bufferView"] = self.json["accessors"].pop(number)["bufferView"]
        return self.add("accessors", item)

    def compressed(self, values: Any, dtype: str = "f4", normalized: bool = False, mode: str = "ATTRIBUTES") -> int:
        """As `accessor`, in a view that meshopt has compressed; a row must have a multiple of four bytes."""
        import meshopt

        values = np.asarray(values).astype(f"<{dtype}").reshape(len(values), -1)
        stride = values.shape[1] * values.itemsize
        place = self._place(meshopt.encode_gltf_buffer(values if mode == "ATTRIBUTES" else values.reshape(-1), mode))
        return self.meshopt_accessor(place, values, dtype, normalized, {"mode": mode, "byteStride": stride})

    def meshopt_accessor(
        self, place: dict[str, int], values: np.ndarray, dtype: str, normalized: bool, fields: dict[str, Any]
    ) -> int:
        self.use(MESHOPT, required=True)
        fallback = len(self.json.setdefault("buffers", [{}])) == 1
        if fallback:
            self.json["buffers"].append({"byteLength": 0, "extensions": {MESHOPT: {"fallback": True}}})
        start = self.json["buffers"][1]["byteLength"]
        size = len(values) * fields["byteStride"]
        self.json["buffers"][1]["byteLength"] += size + -size % 4
        compression = {**place, "count": len(values), **fields}
        view = {"buffer": 1, "byteOffset": start, "byteLength": size, "extensions": {MESHOPT: compression}}
        if fields["mode"] == "ATTRIBUTES":
            view["byteStride"] = fields["byteStride"]
        item = self._item(values, dtype, normalized, {})
        return self.add("accessors", {**item, "bufferView": self.add("bufferViews", view)})

    def _item(self, values: np.ndarray, dtype: str, normalized: bool, fields: dict[str, Any]) -> dict[str, Any]:
        item = {"componentType": COMPONENTS[dtype], "count": len(values), "type": TYPES[values.shape[1]], **fields}
        item |= {"min": values.min(axis=0).tolist(), "max": values.max(axis=0).tolist()} if len(values) else {}
        return item | ({"normalized": True} if normalized else {})

    def image(self, image: Image.Image, format: str = "PNG", uri: str | None = None, **options: Any) -> int:
        """In a buffer view, or as "data:" in the JSON."""
        stream = io.BytesIO()
        image.save(stream, format, **options)
        kind = f"image/{format.lower()}"
        if uri == "data:":
            text = base64.b64encode(stream.getvalue()).decode()
            return self.add("images", {"uri": f"data:{kind};base64,{text}"})
        return self.add("images", {"bufferView": self.view(stream.getvalue()), "mimeType": kind})

    def write(self, path: Path, buffer_uri: str = "data:") -> Path:
        """A GLB, or by the suffix .gltf a JSON file with its buffer inside (or with the given URI, and no file of it)."""
        buffers = self.json.setdefault("buffers", [{}])
        buffers[0] = {"byteLength": len(self.data)}
        if path.suffix == ".gltf":
            data = base64.b64encode(self.data).decode()
            buffers[0]["uri"] = f"data:application/octet-stream;base64,{data}" if buffer_uri == "data:" else buffer_uri
            path.write_text(json.dumps(self.json), encoding="utf-8")
            return path
        text = json.dumps(self.json).encode()
        text += b" " * (-len(text) % 4)
        binary = bytes(self.data) + bytes(-len(self.data) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
        path.write_bytes(struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks)
        return path
