"""glTF 2.0 files (`.gltf`, `.glb`): triangles and base colours, placed by the nodes of the default scene.

Every feature is applied, or refused by its name, or left out since it changes neither the surface nor its colour; the lists
below and the table in docs/reliability.md say which.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.shapes.gltf_file import MESHOPT, GltfFile, JsonObject
from mvdecor.shapes.gltf_materials import BASISU, IMAGE_EXTENSIONS, SPECULAR_GLOSSINESS, Colours
from mvdecor.shapes.gltf_nodes import INSTANCING, Placement, read_placements
from mvdecor.shapes.gltf_primitives import DRACO, TRIANGLES, Primitive, read_primitive, skin_transforms
from mvdecor.shapes.shape import Texture

APPLIED = {
    *MESHOPT,
    DRACO,
    INSTANCING,
    *IMAGE_EXTENSIONS,
    BASISU,  # by the PNG or JPEG beside it; refused at an image that has none
    SPECULAR_GLOSSINESS,
    "KHR_materials_unlit",  # colours are never lit
    "KHR_mesh_quantization",
    "KHR_node_visibility",
    "KHR_texture_transform",
}
APPEARANCE = (  # neither the surface nor its base colour: left out without a word, unless the file requires them
    "KHR_lights_",
    "KHR_materials_",
    "EXT_lights_",
    "KHR_animation_",
    "KHR_xmp",
    "KHR_interactivity",
    "KHR_audio",
    "KHR_physics_",
    "KHR_collision_",
    "KHR_implicit_",
    "KHR_node_hoverability",
    "KHR_node_selectability",
    "EXT_mesh_features",
    "EXT_structural_metadata",
    "EXT_instance_features",
    "EXT_mesh_manifold",
    "MSFT_lod",  # the node itself is the finest level
    "VRM",
)
MODES = ("points", "lines", "a line loop", "a line strip", "triangles", "a triangle strip", "a triangle fan")


@dataclass(frozen=True)
class GltfMesh:
    """The triangles of a glTF file, and where each comes from.

    Faces come by mesh, primitive, node, instance and triangle, each by its place in the file: all that `meshes[0]` has
    as its first primitive, per node that places it, then its second primitive, and so on. Names play no part. A node or
    instance that mirrors its mesh has its faces' last two corners swapped, so that outsides stay outsides.

    Attributes:
        vertices: float64 [V, 3], world frame of the file.
        faces: int64 [F, 3], indices into `vertices`.
        texture: base colours, or None if the file states none.
        face_nodes: int64 [F], number of the node that places each face; -1 in a file without nodes.
        face_instances: int64 [F], number of its instance (EXT_mesh_gpu_instancing), 0 for a node that has none.
        face_meshes: int64 [F], number of its mesh.
        face_primitives: int64 [F], number of its primitive in the mesh.
        face_triangles: int64 [F], its place among the triangles of the primitive.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int64]
    texture: Texture | None
    face_nodes: NDArray[np.int64]
    face_instances: NDArray[np.int64]
    face_meshes: NDArray[np.int64]
    face_primitives: NDArray[np.int64]
    face_triangles: NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """A primitive that a node places: its number in the mesh, its JSON, and its name in messages (`subject`)."""

    placement: Placement
    number: int
    primitive: JsonObject
    source: Primitive
    subject: str

    @property
    def order(self) -> list[int]:
        """The order of each face's corners: the last two are swapped where the node mirrors the mesh."""
        mirrored = self.placement.joints is None and np.linalg.det(self.placement.transform[:3, :3]) < 0
        return [0, 2, 1] if mirrored else [0, 1, 2]


def read_gltf(path: str | Path, texture_size: int | None = None, textures: bool = True) -> GltfMesh:
    """Read a glTF 2.0 file.

    Applied: nodes and their transforms, instances, skins as their joints stand, morph targets by their default weights,
    sparse and quantized values, strips and fans, Draco and meshopt compression; of colours the base colour's image, factor
    and vertex colours, multiplied as linear light. Points and lines are left out with a warning.

    Args:
        path: the file.
        texture_size: images with a longer side are reduced to it; None: as they are.
        textures: False: no texture, and what is wrong with images is only warned of.

    Raises:
        InputError: no glTF 2.0, damaged, a feature that is neither applied nor without effect, an image that is missing
            or cannot be decoded.
    """
    path = Path(path)
    try:
        file = GltfFile(path)
        _check_extensions(file)
        return _read(file, texture_size, textures)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, MemoryError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"{path}: not a valid glTF file ({type(error).__name__}: {reason}); export it again"
        ) from error


def _check_extensions(file: GltfFile) -> None:
    """Refuse required extensions that are not applied, and warn of unknown optional ones."""
    refused = [name for name in file.required if name not in APPLIED]
    if refused:
        raise InputError(
            f"{file.path}: requires {', '.join(refused)}, which is not read; export it without, or convert it"
        )
    not_applied = [name for name in file.json.get("extensionsUsed", []) if name not in APPLIED]
    unknown = [name for name in not_applied if not name.startswith(APPEARANCE)]
    if unknown:
        warnings.warn(f"{file.path}: uses {', '.join(unknown)}, which is not read: left out", stacklevel=4)


def _read(file: GltfFile, texture_size: int | None, textures: bool) -> GltfMesh:
    parts = _parts(file)
    if not parts:
        raise InputError(f"{file.path}: its scene shows no triangles; export it with a mesh in its scene")
    texture = None
    try:
        texture = _texture(file, parts, texture_size)
    except InputError as error:
        if textures:
            raise
        warnings.warn(f"{error} (its colours are not needed)", stacklevel=4)
    vertices, faces, origins, offset = [], [], [], 0
    for part in parts:
        positions, count = _placed(file, part), len(part.source.faces)
        vertices.append(positions)
        faces.append(part.source.faces[:, part.order] + offset)
        origin = (part.placement.node, part.placement.instance, part.placement.mesh, part.number)
        origins.append(np.column_stack([np.tile(origin, (count, 1)), np.arange(count)]))
        offset += len(positions)
    return GltfMesh(
        np.concatenate(vertices),
        np.concatenate(faces),
        texture if textures else None,
        *np.ascontiguousarray(np.concatenate(origins).T),
    )


def _parts(file: GltfFile) -> list[Part]:
    """Every placed primitive that has triangles, in the order of its faces."""
    sources: dict[tuple[int, int, tuple[float, ...]], Primitive] = {}
    parts = []
    for number, placement in _primitives(file, read_placements(file)):
        mesh = file.item("meshes", placement.mesh)
        subject = _name(mesh, placement.mesh, number)
        key = (placement.mesh, number, _weights(mesh, placement))
        if key not in sources:
            sources[key] = read_primitive(file, mesh["primitives"][number], key[2], subject)
        if len(sources[key].faces):
            parts.append(Part(placement, number, mesh["primitives"][number], sources[key], subject))
    return parts


def _texture(file: GltfFile, parts: list[Part], texture_size: int | None) -> Texture | None:
    colours = Colours(file, texture_size)
    surfaces: dict[int, tuple[NDArray[np.float64], int]] = {}  # by the identity of what several nodes place
    uvs, image_ids = [], []
    for part in parts:
        source = part.source
        if id(source) not in surfaces:
            surfaces[id(source)] = colours.surface(part.primitive, source.values.get, source.faces, part.subject)
        uv, image = surfaces[id(source)]
        uvs.append(uv[:, part.order])
        image_ids.append(np.full(len(uv), image, dtype=np.int64))
    return colours.texture(uvs, image_ids)


def _primitives(file: GltfFile, placements: list[Placement]) -> list[tuple[int, Placement]]:
    """Each placed primitive of triangles, by mesh, primitive, node and instance; warns of points and lines."""
    result = []
    for mesh, group in itertools.groupby(placements, key=lambda placement: placement.mesh):  # they come by mesh
        content, of_mesh = file.item("meshes", mesh), list(group)
        for number, primitive in enumerate(content["primitives"]):
            mode = primitive.get("mode", TRIANGLES)
            if mode not in range(len(MODES)):
                raise InputError(f"{file.path}: {_name(content, mesh, number)} has the unknown mode {mode!r}")
            if mode < TRIANGLES:
                warnings.warn(f"{file.path}: {_name(content, mesh, number)} is {MODES[mode]}: left out", stacklevel=5)
            else:
                result += [(number, placement) for placement in of_mesh]
    return result


def _name(mesh: JsonObject, number: int, primitive: int) -> str:
    name = f" ({mesh['name']!r})" if mesh.get("name") else ""
    return f"primitive {primitive} of meshes[{number}]{name}"


def _weights(mesh: JsonObject, placement: Placement) -> tuple[float, ...]:
    """Weights of a mesh's morph targets at a node; () where all are 0."""
    weights = mesh.get("weights", ()) if placement.weights is None else placement.weights
    weights = tuple(float(weight) for weight in weights)
    return weights if any(weights) else ()


def _placed(file: GltfFile, part: Part) -> NDArray[np.float64]:
    """World positions [V, 3] of a part's vertices."""
    positions, transform = part.source.values["POSITION"][:, :3].astype(np.float64), part.placement.transform
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and inf are refused with a message of their own
        if part.placement.joints is None:
            return positions @ transform[:3, :3].T + transform[:3, 3]
        transforms = skin_transforms(file, part.source, part.placement.joints, part.subject)
        return np.einsum("vij,vj->vi", transforms[:, :3, :3], positions) + transforms[:, :3, 3]
