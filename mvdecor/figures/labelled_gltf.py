"""A glTF file with its faces divided by label: the input's scene with one named, coloured node and material per part."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.figures.glb_file import INDICES, VERTICES, Glb, JsonObject
from mvdecor.figures.part_scene import Parts
from mvdecor.files import write_atomically
from mvdecor.shapes.gltf import GltfMesh
from mvdecor.shapes.gltf_file import DTYPES, MESHOPT, GltfFile
from mvdecor.shapes.gltf_nodes import INSTANCING
from mvdecor.shapes.gltf_primitives import DRACO, TRIANGLES, triangles


def write_labelled_gltf(
    path: Path, source: Path, mesh: GltfMesh, labels: NDArray[np.int64], names: tuple[str, ...]
) -> NDArray[np.int32]:
    """Write a glTF file again as GLB, with the triangles of each node below it in one child node per part.

    Nodes, transforms, skins, morph targets, animations, cameras, materials, images and all attributes of vertices stay;
    external files come into the GLB; what Draco and meshoptimizer compressed is stored plainly. Points, lines and nodes
    that the scene does not show are as they were. Colours of vertices are kept under the name _COLOR_0, where they do not
    tint the parts.

    Args:
        path: the file to write.
        source: the glTF file.
        mesh: what `read_gltf` gave for it.
        labels: int64 [F], of the faces of `mesh`, in [-1, len(names)).
        names: of the labels.

    Returns:
        int32 [F, 3], where each face is in the written file, as of `write_part_scene`.

    Raises:
        InputError: the source has changed, or a file that it names is missing; the file cannot be written.
    """
    file = GltfFile(source)
    glb = Glb(copy.deepcopy(file.json))
    _embed(glb, file)
    if not glb.tree.get("nodes"):
        for number in range(len(file.items("meshes"))):
            glb.add("nodes", {"mesh": number})
        glb.tree.update(scene=0, scenes=[{"nodes": list(range(len(file.items("meshes"))))}])
    nodes = np.where(mesh.face_nodes < 0, mesh.face_meshes, mesh.face_nodes)
    splitter = _Splitter(glb, file, Parts(glb, names), len(labels))
    for number in np.unique(nodes).tolist():
        faces = np.flatnonzero(nodes == number)
        splitter.split(number, mesh, faces, labels[faces])
    splitter.finish()
    write_atomically(path, glb.content())
    return splitter.places


def face_sources(mesh: GltfMesh) -> NDArray[np.int32]:
    """int32 [F, 5], where each face comes from in its file: numbers of node, instance, mesh, primitive and triangle."""
    columns = (mesh.face_nodes, mesh.face_instances, mesh.face_meshes, mesh.face_primitives, mesh.face_triangles)
    return np.stack(columns, axis=1).astype(np.int32)


class _Splitter:
    """Divides the primitives of nodes by label.

    Attributes:
        places: int32 [F, 3], of each face that was divided: node, primitive and triangle.
    """

    def __init__(self, glb: Glb, file: GltfFile, parts: Parts, num_faces: int) -> None:
        self._glb, self._file, self._parts = glb, file, parts
        self.places = np.empty((num_faces, 3), dtype=np.int32)
        self._sources: dict[tuple[int, int], tuple[JsonObject, NDArray[np.int64]]] = {}

    def split(self, number: int, mesh: GltfMesh, faces: NDArray[np.int64], labels: NDArray[np.int64]) -> None:
        """Give a node one child per instance and label instead of its mesh."""
        node = self._glb.tree["nodes"][number]
        children = []
        for instance in np.unique(mesh.face_instances[faces]).tolist():
            for label in np.unique(labels).tolist():
                face_ids = faces[(mesh.face_instances[faces] == instance) & (labels == label)]
                if len(face_ids):
                    child = self._child(node, mesh, face_ids, label)
                    child.update(self._instance(node, instance))
                    children.append(self._glb.add("nodes", child))
                    self.places[face_ids, 0] = children[-1]
        primitives = self._file.item("meshes", node["mesh"])["primitives"]
        points_and_lines = [p for p in primitives if p.get("mode", 4) < TRIANGLES]
        if points_and_lines:
            left = self._glb.add("meshes", {"primitives": copy.deepcopy(points_and_lines)})
            children.append(self._glb.add("nodes", {"mesh": left, **_fields(node, "skin")}))
        for key in ("mesh", "skin", "weights"):
            node.pop(key, None)
        if node.get("extensions", {}).pop(INSTANCING, None) is not None and not node["extensions"]:
            del node["extensions"]
        node["children"] = [*node.get("children", []), *children]

    def _child(self, node: JsonObject, mesh: GltfMesh, faces: NDArray[np.int64], label: int) -> JsonObject:
        """The node of a part: the given faces, all of one node and instance."""
        primitives: list[JsonObject] = []
        for number in np.unique(mesh.face_primitives[faces]).tolist():
            primitive, corners = self._source(node["mesh"], number)
            of_primitive = faces[mesh.face_primitives[faces] == number]
            triangles = corners[mesh.face_triangles[of_primitive]]
            self.places[of_primitive, 1], self.places[of_primitive, 2] = len(primitives), np.arange(len(of_primitive))
            index = self._glb.accessor(triangles.reshape(-1).astype(np.uint32), INDICES)
            primitives.append(self._parts.painted({**copy.deepcopy(primitive), "indices": index}, label))
        full_mesh = self._file.item("meshes", node["mesh"])
        return {
            **self._parts.node(label, primitives, **_fields(full_mesh, "weights", "extras")),
            **_fields(node, "skin", "weights"),
        }

    def _source(self, mesh: int, number: int) -> tuple[JsonObject, NDArray[np.int64]]:
        """A primitive without its indices, and its triangles int64 [F, 3]; decompressed, where Draco compressed it."""
        if (mesh, number) not in self._sources:
            primitive = copy.deepcopy(self._file.item("meshes", mesh)["primitives"][number])
            extension = primitive.get("extensions", {}).pop(DRACO, None)
            mode = primitive.pop("mode", TRIANGLES)
            if extension is not None:
                subject = f"primitive {number} of meshes[{mesh}]"
                corners, values = self._file.draco(extension, subject)
                for name, components in values.items():
                    self._fill(self._glb.tree["accessors"][primitive["attributes"][name]], components)
            elif "indices" in primitive:
                corners = triangles(self._file.accessor(primitive["indices"])[:, 0].astype(np.int64), mode)
            else:
                count = self._file.item("accessors", primitive["attributes"]["POSITION"])["count"]
                corners = triangles(np.arange(count), mode)
            if primitive.get("extensions") == {}:
                del primitive["extensions"]
            for attributes in (primitive["attributes"], *primitive.get("targets", [])):
                if "COLOR_0" in attributes:
                    attributes["_COLOR_0"] = attributes.pop("COLOR_0")
            self._sources[mesh, number] = (primitive, corners)
        return self._sources[mesh, number]

    def _fill(self, accessor: JsonObject, values: NDArray[Any]) -> None:
        """Store the decompressed values of an accessor."""
        for key in ("byteOffset", "sparse"):
            accessor.pop(key, None)
        values = values.astype(DTYPES[accessor["componentType"]])
        if "min" in accessor:
            accessor.update(min=values.min(axis=0).tolist(), max=values.max(axis=0).tolist())
        accessor.update(bufferView=self._glb.rows(values, VERTICES), count=len(values))

    def _instance(self, node: JsonObject, number: int) -> JsonObject:
        """Where an instance of EXT_mesh_gpu_instancing lies in its node."""
        instancing = node.get("extensions", {}).get(INSTANCING)
        if instancing is None:
            return {}
        names = {"TRANSLATION": "translation", "ROTATION": "rotation", "SCALE": "scale"}
        values = {
            names[key]: self._file.accessor(a)[number] for key, a in instancing["attributes"].items() if key in names
        }
        if "rotation" in values:
            values["rotation"] = values["rotation"] / np.linalg.norm(values["rotation"])
        return {key: value.astype(np.float64).tolist() for key, value in values.items()}

    def finish(self) -> None:
        """Remove what no longer is there: the undivided meshes, animations of their weights, names of extensions."""
        tree = self._glb.tree
        mesh_ids = sorted({node["mesh"] for node in tree["nodes"] if "mesh" in node})
        tree["meshes"] = [tree["meshes"][number] for number in mesh_ids]
        for node in tree["nodes"]:
            if "mesh" in node:
                node["mesh"] = mesh_ids.index(node["mesh"])
        self._remove_animated_weights()
        primitives = [primitive for mesh in tree["meshes"] for primitive in mesh["primitives"]]
        applied = {name for element in (*primitives, *tree["nodes"]) for name in element.get("extensions", {})}
        removed = {*MESHOPT, DRACO, INSTANCING} - applied
        for key in ("extensionsUsed", "extensionsRequired"):
            names = [name for name in tree.pop(key, []) if name not in removed]
            tree.update({key: names} if names else {})

    def _remove_animated_weights(self) -> None:
        animations = self._glb.tree.get("animations", [])
        for animation in animations:
            channels = [c for c in animation["channels"] if c["target"].get("path") != "weights"]
            if len(channels) < len(animation["channels"]):
                warnings.warn(
                    f"{self._file.path}: animated morph weights are left out of the labelled file", stacklevel=5
                )
            animation["channels"] = channels
        nonempty = [animation for animation in animations if animation["channels"]]
        self._glb.tree.pop("animations", None)
        self._glb.tree.update({"animations": nonempty} if nonempty else {})


def _fields(source: JsonObject, *keys: str) -> JsonObject:
    return {key: copy.deepcopy(source[key]) for key in keys if key in source}


def _embed(glb: Glb, file: GltfFile) -> None:
    """Take all buffer views, decompressed, and all images of other files into the GLB."""
    for number, view in enumerate(glb.tree.get("bufferViews", [])):
        layout = _fields(view, "byteStride", "target", "name", "extras")
        view.clear()
        view.update(layout, **glb.store(file.view(number).tobytes()))
    for image in glb.tree.get("images", []):
        if "uri" not in image:
            continue
        try:
            encoded = file.resource(image["uri"], "image")
        except InputError as error:
            warnings.warn(f"{error} (the labelled file names it as it was)", stacklevel=4)
            continue
        kind = "image/jpeg" if encoded[:2] == b"\xff\xd8" else "image/png"
        mime_type = image.get("mimeType") or _stated_kind(image.pop("uri")) or kind
        image.pop("uri", None)
        image.update(mimeType=mime_type, bufferView=glb.add("bufferViews", glb.store(encoded)))


def _stated_kind(uri: str) -> str | None:
    """The type that a data URI states, or that the ending of a file's name does."""
    if uri.startswith("data:"):
        return uri[5:].partition(",")[0].partition(";")[0] or None
    endings = {".webp": "image/webp", ".avif": "image/avif", ".ktx2": "image/ktx2", ".dds": "image/vnd-ms.dds"}
    return endings.get(Path(uri).suffix.lower())
