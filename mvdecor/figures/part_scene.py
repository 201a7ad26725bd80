"""A labelled mesh as a GLB scene with one named, coloured node and material per part.

The look of the input stays in the file: each primitive names its material as the variant "original" (extension
KHR_materials_variants, which 3D programs offer as a choice), and keeps its texture coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.figures.glb import add_scene, placed_corners, png
from mvdecor.figures.glb_file import INDICES, VERTICES, Glb, JsonObject, matt
from mvdecor.figures.palette import LIGHT_GREY, label_palette
from mvdecor.files import write_atomically
from mvdecor.shapes.gltf_materials import linear
from mvdecor.shapes.shape import UNDETERMINED, Shape

VARIANTS = "KHR_materials_variants"
UNLABELLED = "unlabelled"
"""Name of the part of the faces that have no label (-1)."""


class Parts:
    """Materials of the parts in a GLB file, and the variant that has the input's own.

    Args:
        glb: the file.
        names: of the labels.
    """

    def __init__(self, glb: Glb, names: Sequence[str]) -> None:
        self._glb = glb
        self._names = {UNDETERMINED: UNLABELLED, **dict(enumerate(names))}
        palette = np.concatenate([label_palette(len(names)), [LIGHT_GREY]])  # the last one is that of -1
        self._colours = linear(palette / 255)
        self._materials: dict[int, int] = {}
        self._variant: int | None = None

    def node(self, label: int, primitives: list[JsonObject], **mesh: JsonObject) -> JsonObject:
        """A node of the part's name that shows primitives as its mesh; `mesh` holds further fields of the mesh."""
        name = self._names[label]
        number = self._glb.add("meshes", {**mesh, "name": name, "primitives": primitives})
        return {"name": name, "mesh": number, "extras": {"label": label, "label_name": name}}

    def painted(self, primitive: JsonObject, label: int) -> JsonObject:
        """The primitive with its part's material; the one that it has becomes the variant "original"."""
        if label not in self._materials:
            colour = [*self._colours[label].tolist(), 1.0]
            self._materials[label] = self._glb.add("materials", matt(self._names[label], baseColorFactor=colour))
        painted = {**primitive, "material": self._materials[label]}
        if "material" in primitive:
            extensions = dict(primitive.get("extensions", {}))
            variants = extensions.get(VARIANTS, {"mappings": []})
            original = {"material": primitive["material"], "variants": [self._original()]}
            extensions[VARIANTS] = {**variants, "mappings": [*variants["mappings"], original]}
            painted["extensions"] = extensions
        return painted

    def _original(self) -> int:
        """Number of the variant, which is made at the first call."""
        if self._variant is None:
            tree = self._glb.tree
            extensions = tree.setdefault("extensionsUsed", [])
            extensions += [] if VARIANTS in extensions else [VARIANTS]
            variants = tree.setdefault("extensions", {}).setdefault(VARIANTS, {}).setdefault("variants", [])
            variants.append({"name": "original"})
            self._variant = len(variants) - 1
        return self._variant


def write_part_scene(path: Path, shape: Shape, labels: NDArray[np.int64]) -> NDArray[np.int32]:
    """Write a shape as a scene of its parts, with its texture coordinates and images if it has any.

    Args:
        path: the file.
        shape: the mesh, with its label names.
        labels: int64 [F], in [-1, len(label_names)).

    Returns:
        int32 [F, 3], where each face is in the file: numbers of its node, of the primitive in the node's mesh, and of the
        triangle in the primitive.

    Raises:
        InputError: the file cannot be written.
    """
    places = np.empty((len(labels), 3), dtype=np.int32)
    glb = Glb()
    parts = Parts(glb, shape.label_names)
    corners, place = placed_corners(shape)
    texture = shape.texture
    images = np.zeros(len(labels), dtype=np.int64) if texture is None else texture.image_ids.cpu().numpy()
    materials = _image_materials(glb, shape)
    nodes = []
    for label in np.unique(labels).tolist():
        primitives: list[JsonObject] = []
        for image in np.unique(images[labels == label]).tolist():
            faces = np.flatnonzero((labels == label) & (images == image))
            places[faces, 1:] = np.stack([np.full(len(faces), len(primitives)), np.arange(len(faces))], axis=1)
            primitive: JsonObject = {"attributes": {}}
            if texture is None:
                vertex_ids, index = np.unique(shape.faces.cpu().numpy()[faces], return_inverse=True)
                positions = np.empty((shape.vertices.shape[0], 3), dtype=np.float32)
                positions[shape.faces.cpu().numpy()] = corners
                primitive["attributes"]["POSITION"] = glb.accessor(positions[vertex_ids], VERTICES)
                primitive["indices"] = glb.accessor(index.reshape(-1).astype(np.uint32), INDICES)
            else:
                uv = texture.uv.cpu().numpy()[faces].reshape(-1, 2) * np.array([1, -1], np.float32) + np.array(
                    [0, 1], np.float32
                )
                primitive["attributes"]["POSITION"] = glb.accessor(corners[faces].reshape(-1, 3), VERTICES)
                primitive["attributes"]["TEXCOORD_0"] = glb.accessor(uv, VERTICES)
                primitive["material"] = materials[image]
            primitives.append(parts.painted(primitive, label))
        nodes.append(glb.add("nodes", parts.node(label, primitives)))
        places[labels == label, 0] = nodes[-1]
    add_scene(glb, nodes, shape.id, place)
    write_atomically(path, glb.content())
    return places


def _image_materials(glb: Glb, shape: Shape) -> list[int]:
    """A material per image of a shape's texture."""
    if shape.texture is None:
        return []
    sampler = glb.add("samplers", {})
    materials = []
    for number, image in enumerate(shape.texture.images):
        source = glb.image(f"image {number}", png(image.cpu().numpy()))
        texture = glb.add("textures", {"source": source, "sampler": sampler})
        materials.append(glb.add("materials", matt(f"image {number}", baseColorTexture={"index": texture})))
    return materials
