"""A second reader of GLB files, by the bytes of the specification alone: it checks what a validator would, and decodes."""

from __future__ import annotations

import io
import json
import struct
from pathlib import Path

import numpy as np
from PIL import Image

COMPONENTS = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class GlbFile:
    """A GLB file; a broken rule of glTF 2.0 is an AssertionError.

    Attributes:
        tree: its JSON.
    """

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        magic, version, length, size, kind = struct.unpack("<4sIII4s", data[:20])
        assert (magic, version, length, kind) == (b"glTF", 2, len(data), b"JSON") and size % 4 == 0
        self.tree = json.loads(data[20 : 20 + size])
        rest = data[20 + size :]
        size, kind = struct.unpack("<I4s", rest[:8])
        assert kind == b"BIN\0" and size % 4 == 0 and len(rest) == 8 + size
        self._binary = rest[8:]
        (buffer,) = self.tree["buffers"]
        assert "uri" not in buffer and 0 <= size - buffer["byteLength"] < 4
        for view in self.tree["bufferViews"]:
            assert view["buffer"] == 0 and view["byteLength"] > 0
            assert view.get("byteOffset", 0) + view["byteLength"] <= buffer["byteLength"]
        for number in range(len(self.tree["accessors"])):
            self.values(number)
        self._check_numbers()

    def values(self, number: int) -> np.ndarray:
        """The rows of an accessor."""
        accessor = self.tree["accessors"][number]
        view = self.tree["bufferViews"][accessor["bufferView"]]
        kind, width = np.dtype(COMPONENTS[accessor["componentType"]]), WIDTHS[accessor["type"]]
        stride = view.get("byteStride", kind.itemsize * width)
        inside = accessor.get("byteOffset", 0)
        start = view.get("byteOffset", 0) + inside
        assert accessor["count"] > 0 and start % kind.itemsize == 0 and stride % kind.itemsize == 0
        assert inside + stride * (accessor["count"] - 1) + kind.itemsize * width <= view["byteLength"]
        assert "byteStride" not in view or (4 <= stride <= 252 and stride % 4 == 0)
        rows = [np.frombuffer(self._binary, kind, width, start + stride * row) for row in range(accessor["count"])]
        values = np.array(rows)
        for name, reduced in (("min", values.min(axis=0)), ("max", values.max(axis=0))):
            assert name not in accessor or np.allclose(accessor[name], reduced, rtol=1e-6)
        return values

    def corners(self, node: int, primitive: int) -> np.ndarray:
        """float64 [F, 3, 3]: the triangles of a primitive of a node, in the frame of the scene."""
        part = self.tree["meshes"][self.tree["nodes"][node]["mesh"]]["primitives"][primitive]
        positions = self.values(part["attributes"]["POSITION"]).astype(np.float64)
        placed = positions @ self.transform(node)[:3, :3].T + self.transform(node)[:3, 3]
        return placed[self.index(part)].reshape(-1, 3, 3)

    def image(self, material: int) -> np.ndarray:
        """uint8 [H, W, 3], the picture of a material."""
        texture = self.tree["materials"][material]["pbrMetallicRoughness"]["baseColorTexture"]["index"]
        image = self.tree["images"][self.tree["textures"][texture]["source"]]
        view = self.tree["bufferViews"][image["bufferView"]]
        start = view.get("byteOffset", 0)
        return np.asarray(Image.open(io.BytesIO(self._binary[start : start + view["byteLength"]])).convert("RGB"))

    def index(self, primitive: dict) -> np.ndarray:
        """int [3 F], the vertices of a primitive's triangles."""
        assert primitive.get("mode", 4) == 4
        if "indices" in primitive:
            return self.values(primitive["indices"])[:, 0]
        return np.arange(self.tree["accessors"][primitive["attributes"]["POSITION"]]["count"])

    def transform(self, node: int) -> np.ndarray:
        """float64 [4, 4], from a node to the scene."""
        fields = self.tree["nodes"][node]
        if "matrix" in fields:
            local = np.array(fields["matrix"]).reshape(4, 4).T
        else:
            x, y, z, w = fields.get("rotation", (0, 0, 0, 1))
            rotation = np.eye(3) - 2 * np.array(
                [[y * y + z * z, w * z - x * y, -w * y - x * z], [-w * z - x * y, x * x + z * z, w * x - y * z],
                 [w * y - x * z, -w * x - y * z, x * x + y * y]]
            )  # fmt: skip
            local = np.eye(4)
            local[:3, :3] = rotation * fields.get("scale", (1, 1, 1))
            local[:3, 3] = fields.get("translation", (0, 0, 0))
        parents = [i for i, other in enumerate(self.tree["nodes"]) if node in other.get("children", [])]
        assert len(parents) <= 1, "a tree"
        return self.transform(parents[0]) @ local if parents else local

    def _check_numbers(self) -> None:
        """Whatever is named by its number is there, and every index is that of a vertex."""
        tree = self.tree
        for node in tree["nodes"]:
            assert all(0 <= child < len(tree["nodes"]) for child in node.get("children", []))
            assert "mesh" not in node or 0 <= node["mesh"] < len(tree["meshes"])
        for primitive in (p for mesh in tree["meshes"] for p in mesh["primitives"]):
            counts = {tree["accessors"][number]["count"] for number in primitive["attributes"].values()}
            assert len(counts) == 1 and int(self.index(primitive).max()) < counts.pop()
            variants = primitive.get("extensions", {}).get("KHR_materials_variants", {}).get("mappings", [])
            for material in (primitive["material"], *(mapping["material"] for mapping in variants)):
                texture = tree["materials"][material]["pbrMetallicRoughness"].get("baseColorTexture")
                assert texture is None or tree["images"][tree["textures"][texture["index"]]["source"]]
        for root in tree["scenes"][tree["scene"]]["nodes"]:
            assert 0 <= root < len(tree["nodes"])
        names = {name for element in (tree, *tree["nodes"], *(p for m in tree["meshes"] for p in m["primitives"]))
                 for name in element.get("extensions", {})}  # fmt: skip
        assert names <= set(tree.get("extensionsUsed", []))
