"""Random mixes of glTF's features: each must read as it was made, face by face and colour by colour.

What is right follows from what was written, by plain loops over faces, corners and texels that share nothing with the reader.
Colours between texels are blended as sRGB, which docs/reliability.md names as an approximation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import DracoPy
import meshopt
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from mvdecor.shapes.gltf import read_gltf
from tests.gltf_expected import Face, Paint, check, triangles_of
from tests.gltf_writer import GltfWriter

SCALES = {"i1": 127, "u1": 255, "i2": 32767, "u2": 65535}
WRAPS = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
QUANTIZED = ("f4", "f4", "i1", "i2", "u1", "u2")


@dataclass(frozen=True)
class Part:
    """A primitive: positions [V, 3] with its morph targets, the corners of its triangles, joints and weights [V, 4]."""

    positions: np.ndarray
    faces: list[tuple[int, int, int]]
    paint: Paint
    joints: np.ndarray
    weights: np.ndarray


@dataclass
class Mix:
    """Makes one file; `faces` is what it holds, in its order."""

    rng: random.Random
    writer: GltfWriter = field(default_factory=GltfWriter)
    faces: list[Face] = field(default_factory=list)

    def chance(self, probability: float = 0.5) -> bool:
        return self.rng.random() < probability

    def numbers(self, *shape: int, low: float = -1, high: float = 1) -> np.ndarray:
        flat = [self.rng.uniform(low, high) for _ in range(math.prod(shape))]
        return np.array(flat, dtype=np.float32).astype(np.float64).reshape(shape)

    def store(self, values: np.ndarray, dtypes: tuple[str, ...] = ("f4",)) -> tuple[int, np.ndarray]:
        """Store rows of numbers somehow; returns the accessor, and the numbers that it then holds."""
        dtype = self.rng.choice(dtypes)
        normalized, stored = dtype != "f4", values
        if normalized:
            stored = np.round(values.clip(-1 if dtype[0] == "i" else 0, 1) * SCALES[dtype])
            values = stored / SCALES[dtype]
            self.writer.use("KHR_mesh_quantization", required=True)
        way = self.rng.choice(("plain", "padded", "sparse", "meshopt"))
        if way == "sparse":
            return self.writer.sparse(stored, dtype, normalized, base=self.chance()), values
        if way == "meshopt" and values.shape[1] * int(dtype[1]) % 4 == 0:
            return self.writer.compressed(stored, dtype, normalized), values
        return self.writer.accessor(stored, dtype, normalized, pad=4 if way == "padded" else 0), values

    def primitive(self, joints: int, weights: list[float]) -> tuple[dict[str, Any], Part]:
        count = self.rng.randint(3, 9)
        number, positions = self.store(self.numbers(count, 3), QUANTIZED)
        item: dict[str, Any] = {"attributes": {"POSITION": number}}
        for weight in weights:
            target, change = self.store(self.numbers(count, 3), ("f4", "i2"))
            item.setdefault("targets", []).append({"POSITION": target})
            positions = positions + weight * change
        joint_ids, joint_weights = np.zeros((count, 4), int), np.zeros((count, 4))
        if joints:
            joint_ids = np.array([[self.rng.randrange(joints) for _ in range(4)] for _ in range(count)])
            shares = self.numbers(count, 4, low=0.1)
            item["attributes"]["JOINTS_0"] = self.writer.accessor(joint_ids, self.rng.choice(("u1", "u2")))
            item["attributes"]["WEIGHTS_0"], joint_weights = self.store(
                shares / shares.sum(axis=1, keepdims=True), ("f4", "u1", "u2")
            )
        order = list(range(count)) if self.chance(0.2) else [self.rng.randrange(count) for _ in range(count + 4)]
        mode = self.rng.choice((4, 4, 5, 6))
        order = order[: len(order) // 3 * 3] if mode == 4 else order
        if order != list(range(count)):
            item["indices"], order = self._indices(order, mode)
        if mode != 4 or self.chance():
            item["mode"] = mode
        paint = self.paint(item, count)
        return item, Part(positions, triangles_of(order, mode), paint, joint_ids, joint_weights)

    def _indices(self, order: list[int], mode: int) -> tuple[int, list[int]]:
        dtype = self.rng.choice(("u1", "u2", "u4"))
        if dtype == "u1" or self.chance(0.7):
            return self.writer.accessor(order, dtype), order
        if mode != 4:
            return self.writer.compressed(np.array(order)[:, None], dtype, mode="INDICES"), order
        number = self.writer.compressed(np.array(order)[:, None], dtype, mode="TRIANGLES")
        encoded = meshopt.encode_index_buffer(np.array(order, dtype=np.uint32))
        # the codec keeps the triangles in order, but may turn one so that another of its corners is the first
        return number, meshopt.decode_index_buffer(encoded, len(order), 4).tolist()

    def paint(self, item: dict[str, Any], count: int) -> Paint:
        paint = Paint()
        if self.chance(0.4):
            colours = self.numbers(count, 4, low=0)
            colours = colours[:1].repeat(count, axis=0) if self.chance() else colours
            number, stored = self.store(colours[:, : self.rng.choice((3, 4))], ("f4", "u1", "u2"))
            item["attributes"]["COLOR_0"] = number
            paint = replace(paint, colours=stored[:, :3], stated=True)
        if self.chance(0.2):
            return paint
        base: dict[str, Any] = {}
        material: dict[str, Any] = {"pbrMetallicRoughness": base}
        names = ("baseColorFactor", "baseColorTexture")
        if self.chance(0.2):
            names, base = ("diffuseFactor", "diffuseTexture"), {}
            material["extensions"] = {"KHR_materials_pbrSpecularGlossiness": base}
            self.writer.use("KHR_materials_pbrSpecularGlossiness")
        if self.chance():
            factor = self.numbers(4, low=0).tolist()
            base[names[0]] = factor
            paint = replace(paint, factor=tuple(factor[:3]), stated=True)
        if self.chance(0.6):
            base[names[1]], paint = self._texture(item, count, paint)
        item["material"] = self.writer.add("materials", material)
        return paint

    def _texture(self, item: dict[str, Any], count: int, paint: Paint) -> tuple[dict[str, Any], Paint]:
        channel = self.rng.randint(0, 2)
        number, uv = self.store(self.numbers(count, 2, low=-0.5, high=1.5), QUANTIZED)
        for other in range(channel):
            item["attributes"][f"TEXCOORD_{other}"] = self.store(self.numbers(count, 2))[0]
        item["attributes"][f"TEXCOORD_{channel}"] = number
        texture: dict[str, Any] = {}
        image = self._image(texture)
        wraps = [self.rng.choice(list(WRAPS)) for _ in range(2)]
        nearest = self.chance(0.3)
        if wraps != [10497, 10497] or nearest or self.chance(0.3):
            sampler: dict[str, Any] = {"wrapS": wraps[0], "wrapT": wraps[1]} | ({"magFilter": 9728} if nearest else {})
            texture["sampler"] = self.writer.add("samplers", sampler)
        info: dict[str, Any] = {"index": self.writer.add("textures", texture), "texCoord": channel}
        paint = replace(
            paint, stated=True, image=image, uv=uv, nearest=nearest, wraps=(WRAPS[wraps[0]], WRAPS[wraps[1]])
        )
        if self.chance(0.4):
            offset, scale = self.numbers(2).tolist(), self.numbers(2, low=-2, high=2).tolist()
            rotation = self.rng.choice((0.0, self.rng.uniform(-4, 4)))
            info["extensions"] = {"KHR_texture_transform": {"offset": offset, "rotation": rotation, "scale": scale}}
            self.writer.use("KHR_texture_transform", required=self.chance())
            if self.chance():
                info["extensions"]["KHR_texture_transform"]["texCoord"], info["texCoord"] = channel, 0
            paint = replace(paint, offset=tuple(offset), scale=tuple(scale), rotation=rotation)
        return info, paint

    def _image(self, texture: dict[str, Any]) -> np.ndarray:
        size = (self.rng.randint(1, 5), self.rng.randint(1, 5))
        flat = [self.rng.randrange(256) for _ in range(3 * size[0] * size[1])]
        pixels = np.array(flat, dtype=np.uint8).reshape(*size, 3)
        uri = self.rng.choice((None, "data:"))
        kind = self.rng.choice(("rgb", "rgba", "grey", "grey16", "webp"))
        if kind == "webp":
            number = self.writer.image(Image.fromarray(pixels), "WEBP", uri, lossless=True)
            texture["extensions"] = {"EXT_texture_webp": {"source": number}}
            self.writer.use("EXT_texture_webp", required=True)
            return pixels
        picture = Image.fromarray(pixels)
        if kind == "rgba":
            picture.putalpha(37)
        if kind.startswith("grey"):
            pixels = pixels[..., :1].repeat(3, axis=2)
            grey = pixels[..., 0]
            picture = Image.fromarray(grey.astype(np.uint16) * 257 if kind == "grey16" else grey)
        texture["source"] = self.writer.image(picture, "PNG", uri)
        return pixels

    def transform(self, item: dict[str, Any]) -> np.ndarray:
        """Give a node a transform, as numbers or as a matrix; mirrored ones too."""
        if self.chance(0.3):
            return np.eye(4)
        move, turn = self.numbers(3, low=-3, high=3), Rotation.from_rotvec(self.numbers(3, low=-3, high=3))
        scale = self.numbers(3, low=0.3, high=2) * [self.rng.choice((1, 1, -1)) for _ in range(3)]
        matrix = np.eye(4)
        matrix[:3, :3] = turn.as_matrix() @ np.diag(scale)
        matrix[:3, 3] = move
        if self.chance():
            item["matrix"] = matrix.T.reshape(-1).tolist()
        else:
            item |= {"translation": move.tolist(), "rotation": turn.as_quat().tolist(), "scale": scale.tolist()}
        return matrix

    def instances(self, item: dict[str, Any]) -> list[np.ndarray]:
        count = self.rng.randint(1, 3)
        move, scale = self.numbers(count, 3), self.numbers(count, 3, low=0.5, high=2)
        turns = Rotation.from_rotvec(self.numbers(count, 3, low=-3, high=3)).as_quat()
        attributes: dict[str, int] = {"_ID": self.writer.accessor(list(range(count)))}
        attributes["TRANSLATION"], move = self.store(move)
        if self.chance():
            attributes["SCALE"], scale = self.store(scale)
        else:
            scale = np.ones((count, 3))
        attributes["ROTATION"], turns = self.store(turns, ("f4", "i2"))
        item["extensions"] = {"EXT_mesh_gpu_instancing": {"attributes": attributes}}
        self.writer.use("EXT_mesh_gpu_instancing", required=True)
        result = np.eye(4)[None].repeat(count, axis=0)
        result[:, :3, :3] = Rotation.from_quat(turns).as_matrix() * scale[:, None]
        result[:, :3, 3] = move
        return list(result)

    def build(self) -> None:
        """Meshes, a random tree of nodes that place them, and what must come of it."""
        nodes: list[dict[str, Any]] = [{} for _ in range(self.rng.randint(1, 6))]
        parents = [self.rng.randrange(-1, number) if number else -1 for number in range(len(nodes))]
        names = self.rng.sample(range(len(nodes)), len(nodes))  # places in the file: parents may come after children
        local = [self.transform(node) for node in nodes]
        world: list[np.ndarray] = []
        for number, parent in enumerate(parents):
            world.append(local[number] if parent == -1 else world[parent] @ local[number])
            if parent != -1:
                nodes[parent].setdefault("children", []).append(names[number])
        joints = len(nodes) if self.chance(0.4) else 0
        binds = self.numbers(max(joints, 1), 4, 4)
        binds[:, 3] = [0, 0, 0, 1]
        skin = {"joints": [names[number] for number in range(joints)]}
        if joints and self.chance(0.7):
            skin["inverseBindMatrices"], _ = self.store(binds.swapaxes(1, 2).reshape(-1, 16))
        else:
            binds = np.eye(4)[None].repeat(len(binds), axis=0)
        placed: list[tuple[int, int, int, np.ndarray, bool]] = []
        hidden = self._hidden(nodes, parents)
        weights = [self.numbers(self.rng.randint(1, 2)).tolist() if self.chance(0.3) else [] for _ in range(3)]
        for number, node in enumerate(nodes):
            if self.chance(0.3):
                node["camera"] = 0
            if number and self.chance(0.3):
                continue
            node["mesh"] = self.rng.randrange(3)
            if weights[node["mesh"]] and self.chance():
                node["weights"] = weights[node["mesh"]]
            skinned = bool(joints) and self.chance(0.4)
            transforms = [np.eye(4)]
            if skinned:
                node["skin"] = 0
            elif self.chance(0.3):
                transforms = self.instances(node)
            for instance, matrix in enumerate(transforms):
                placed.append((names[number], instance, node["mesh"], world[number] @ matrix, skinned))
        self._write_nodes(nodes, names, parents, hidden, skin if joints else None)
        posed = [world[number] @ binds[number] for number in range(joints)]
        shown = [one for one in placed if one[0] not in {names[number] for number in hidden}]
        for mesh in range(3):
            item: dict[str, Any] = {"primitives": [], "name": self.rng.choice("ab")}
            if weights[mesh]:
                item["weights"] = weights[mesh]
            for primitive in range(self.rng.randint(1, 3)):
                content, part = self.primitive(joints, weights[mesh])
                item["primitives"].append(content)
                for node, instance, of, matrix, skinned in sorted(shown, key=lambda one: one[:2]):
                    if of == mesh:
                        self._expect((node, instance, mesh, primitive), part, matrix, posed if skinned else None)
            self.writer.add("meshes", item)

    def _hidden(self, nodes: list[dict[str, Any]], parents: list[int]) -> set[int]:
        hidden: set[int] = set()
        for number, node in enumerate(nodes):
            if number and self.chance(0.1):
                node["extensions"] = {"KHR_node_visibility": {"visible": False}}
                self.writer.use("KHR_node_visibility")
            if "extensions" in node or parents[number] in hidden:
                hidden.add(number)
        return hidden

    def _write_nodes(
        self,
        nodes: list[dict[str, Any]],
        names: list[int],
        parents: list[int],
        hidden: set[int],
        skin: dict[str, Any] | None,
    ) -> None:
        for number in hidden:
            extensions = nodes[number].setdefault("extensions", {})
            if parents[number] not in hidden:
                extensions["KHR_node_visibility"] = {"visible": False}
        by_name = dict(zip(names, nodes, strict=True))
        self.writer.json["nodes"] = [by_name[name] for name in range(len(nodes))]
        self.writer.json["cameras"] = [
            {"type": "orthographic", "orthographic": {"xmag": 1, "ymag": 1, "zfar": 1, "znear": 0}}
        ]
        if skin is not None:
            self.writer.json["skins"] = [skin]
        roots = [names[number] for number, parent in enumerate(parents) if parent == -1]
        self.rng.shuffle(roots)
        if self.chance(0.8):
            self.writer.json["scenes"] = [{"nodes": roots}]
            if self.chance():
                self.writer.json["scenes"].insert(0, {"nodes": roots[:1]})
                self.writer.json["scene"] = 1

    def _expect(
        self, origin: tuple[int, int, int, int], part: Part, matrix: np.ndarray, posed: list[np.ndarray] | None
    ) -> None:
        world = []
        for vertex, position in enumerate(part.positions):
            point = np.append(position, 1)
            if posed is None:
                world.append((matrix @ point)[:3])
            else:
                shares = part.weights[vertex] / part.weights[vertex].sum()
                poses = [posed[joint] @ point for joint in part.joints[vertex]]
                world.append(sum(share * pose[:3] for share, pose in zip(shares, poses, strict=True)))
        mirrored = posed is None and np.linalg.det(matrix[:3, :3]) < 0
        for triangle, (a, b, c) in enumerate(part.faces):
            vertices = (a, c, b) if mirrored else (a, b, c)
            corners = np.array([world[vertex] for vertex in vertices])
            self.faces.append(Face((*origin, triangle), corners, vertices, part.paint))


def write_mix(path: Path, rng: random.Random) -> list[Face]:
    """Write a random file (.glb or .gltf); returns the faces that it holds, in their order."""
    while True:
        mix = Mix(rng)
        mix.build()
        if mix.faces:
            mix.writer.write(path)
            return mix.faces


def mixes(path: Path) -> tuple[Path, Callable[[], None], Callable[[random.Random], None]]:
    """A file to write random mixes into, what reads and compares it, and what makes it anew."""
    faces = write_mix(path, random.Random(0))

    def make(rng: random.Random) -> None:
        faces[:] = write_mix(path, rng)

    return path, lambda: check(read_gltf(path), faces, len(faces)), make


def write_compressed(path: Path) -> Path:
    """A small file with a primitive that Draco compressed and one that meshopt did, skinned and textured."""
    rng = np.random.default_rng(0)
    faces, points = np.arange(12).reshape(4, 3), rng.random((12, 3), dtype=np.float32)
    writer = GltfWriter()
    data = DracoPy.encode(
        points, faces, quantization_bits=12, preserve_order=True, tex_coord=points[:, :2].astype(float)
    )
    writer.use("KHR_draco_mesh_compression", required=True)
    attributes = {
        "POSITION": writer.add("accessors", {"componentType": 5126, "count": 12, "type": "VEC3"}),
        "TEXCOORD_0": writer.add("accessors", {"componentType": 5126, "count": 12, "type": "VEC2"}),
    }
    indices = writer.add("accessors", {"componentType": 5125, "count": 12, "type": "SCALAR"})
    ids = {attribute["attribute_type"]: attribute["unique_id"] for attribute in DracoPy.decode(data).attributes}
    draco = {"bufferView": writer.view(data), "attributes": {"POSITION": ids[0], "TEXCOORD_0": ids[3]}}
    extensions = {"KHR_draco_mesh_compression": draco}
    textured = {"attributes": attributes, "indices": indices, "material": 0, "extensions": extensions}
    image = writer.image(Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)))
    writer.add("textures", {"source": image})
    writer.add("materials", {"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}}})
    plain = {
        "attributes": {
            "POSITION": writer.compressed(points),
            "COLOR_0": writer.compressed(rng.random((12, 4)) * 255, "u1", True),
            "JOINTS_0": writer.compressed(np.zeros((12, 4)), "u1"),
            "WEIGHTS_0": writer.sparse(np.eye(4)[np.zeros(12, int)], base=False),
        },
        "indices": writer.compressed(faces.reshape(-1, 1), "u2", mode="TRIANGLES"),
    }
    writer.add("meshes", {"primitives": [textured, plain]})
    writer.add("meshes", {"primitives": [plain]})
    writer.add("skins", {"joints": [1]})
    writer.json["nodes"] = [{"mesh": 0, "children": [1]}, {"translation": [1, 2, 3]}, {"mesh": 1, "skin": 0}]
    return writer.write(path)
