"""glTF 2.0 files (`.gltf`, `.glb`): triangles and base colours, placed by the nodes of the default scene.

Every feature is applied, or refused by its name, or left out since it changes neither the surface nor its colour; the lists
below and the table in docs/reliability.md say which.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.shapes.gltf_file import MESHOPT, GltfFile, Item, normalized
from mvdecor.shapes.gltf_materials import BASISU, IMAGE_EXTENSIONS, SPECULAR_GLOSSINESS, Colours
from mvdecor.shapes.gltf_nodes import INSTANCING, Placement, read_placements
from mvdecor.shapes.shape import Texture

DRACO = "KHR_draco_mesh_compression"
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
LOOKS = (  # neither the surface nor its base colour: left out without a word, unless the file requires them
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
TRIANGLES, STRIP, FAN = 4, 5, 6


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
class Primitive:
    """Triangles [F, 3] of a primitive and its attributes [V, components], with morph targets added."""

    faces: NDArray[np.int64]
    values: dict[str, NDArray[Any]]


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
    """Refuse required extensions that are not applied, and warn of optional ones that nobody here knows."""
    refused = [name for name in file.required if name not in APPLIED]
    if refused:
        raise InputError(
            f"{file.path}: requires {', '.join(refused)}, which is not read; export it without, or convert it"
        )
    used = [name for name in file.json.get("extensionsUsed", []) if name not in APPLIED]
    unknown = [name for name in used if not name.startswith(LOOKS)]
    if unknown:
        warnings.warn(f"{file.path}: uses {', '.join(unknown)}, which is not read: left out", stacklevel=4)


def _read(file: GltfFile, texture_size: int | None, textures: bool) -> GltfMesh:
    placements = read_placements(file)
    sources: dict[tuple[int, int, tuple[float, ...]], Primitive] = {}
    surfaces: dict[tuple[int, int, tuple[float, ...]], tuple[NDArray[np.float64], int]] = {}
    colours: Colours | None = Colours(file, texture_size)
    vertices, faces, uvs, image_ids = [np.empty((0, 3))], [np.empty((0, 3), np.int64)], [], []
    origins = [np.empty((0, 5), np.int64)]
    offset = 0
    for number, placement in _primitives(file, placements):
        mesh = file.item("meshes", placement.mesh)
        what = _name(mesh, placement.mesh, number)
        key = (placement.mesh, number, _weights(mesh, placement))
        if key not in sources:
            sources[key] = _read_primitive(file, mesh["primitives"][number], key[2], what)
        source = sources[key]
        count = len(source.faces)
        if count == 0:
            continue
        placed, mirrored = _placed(file, source, placement, what)
        order = [0, 2, 1] if mirrored else [0, 1, 2]
        if colours is not None and key not in surfaces:
            try:
                surfaces[key] = colours.surface(mesh["primitives"][number], source.values.get, source.faces, what)
            except InputError as error:
                if textures:
                    raise
                warnings.warn(f"{error} (its colours are not needed)", stacklevel=4)
                colours = None
        if colours is not None:
            uv, image = surfaces[key]
            uvs.append(uv[:, order])
            image_ids.append(np.full(count, image, dtype=np.int64))
        vertices.append(placed)
        faces.append(source.faces[:, order] + offset)
        origin = (placement.node, placement.instance, placement.mesh, number)
        origins.append(np.column_stack([np.tile(origin, (count, 1)), np.arange(count)]))
        offset += len(placed)
    if offset == 0:
        raise InputError(f"{file.path}: its scene shows no triangles; export it with a mesh in its scene")
    return GltfMesh(
        np.concatenate(vertices),
        np.concatenate(faces),
        colours.texture(uvs, image_ids) if colours is not None and textures else None,
        *np.ascontiguousarray(np.concatenate(origins).T),
    )


def _primitives(file: GltfFile, placements: list[Placement]) -> list[tuple[int, Placement]]:
    """Each placed primitive of triangles, by mesh, primitive, node and instance; warns of points and lines."""
    result = []
    for mesh in sorted({placement.mesh for placement in placements}):
        content = file.item("meshes", mesh)
        for number, primitive in enumerate(content["primitives"]):
            mode = primitive.get("mode", TRIANGLES)
            if mode not in range(len(MODES)):
                raise InputError(f"{file.path}: {_name(content, mesh, number)} has the unknown mode {mode!r}")
            if mode < TRIANGLES:
                warnings.warn(f"{file.path}: {_name(content, mesh, number)} is {MODES[mode]}: left out", stacklevel=5)
            else:
                result += [(number, placement) for placement in placements if placement.mesh == mesh]
    return result


def _name(mesh: Item, number: int, primitive: int) -> str:
    name = f" ({mesh['name']!r})" if mesh.get("name") else ""
    return f"primitive {primitive} of meshes[{number}]{name}"


def _weights(mesh: Item, placement: Placement) -> tuple[float, ...]:
    """Weights of a mesh's morph targets at a node; () where all are 0."""
    weights = mesh.get("weights", ()) if placement.weights is None else placement.weights
    weights = tuple(float(weight) for weight in weights)
    return weights if any(weights) else ()


def _read_primitive(file: GltfFile, primitive: Item, weights: tuple[float, ...], what: str) -> Primitive:
    attributes = dict(primitive["attributes"])
    if "POSITION" not in attributes:
        raise InputError(f"{file.path}: {what} has no POSITION; export it again")
    draco = primitive.get("extensions", {}).get(DRACO)
    values: dict[str, NDArray[Any]] = {}
    faces = None
    if draco is not None:
        faces, values = file.draco(draco, what)
        for name, data in values.items():
            is_normalized = file.item("accessors", attributes[name]).get("normalized")
            values[name] = normalized(data) if is_normalized else data
    for name, number in attributes.items():
        if name not in values and name.startswith(("POSITION", "TEXCOORD_", "COLOR_0", "JOINTS_", "WEIGHTS_")):
            values[name] = file.accessor(number)
    for name in ("POSITION", "COLOR_0"):
        if name in values and values[name].shape[1] < 3:
            raise InputError(f"{file.path}: {what}: its {name} has {values[name].shape[1]} numbers instead of 3")
    count = len(values["POSITION"])
    for name, data in values.items():
        if len(data) != count:
            raise InputError(f"{file.path}: {what} has {count} positions and {len(data)} {name}; export it again")
    if faces is None:
        faces = triangles(_indices(file, primitive, count, what), primitive.get("mode", TRIANGLES))
    if len(faces) and int(faces.max()) >= count:
        raise InputError(f"{file.path}: {what} refers to vertex {int(faces.max())} of {count}; export it again")
    if weights:
        _add_targets(file, primitive, weights, values, what)
    return _compact(Primitive(faces, values))


def _indices(file: GltfFile, primitive: Item, count: int, what: str) -> NDArray[np.int64]:
    """int64 [N], the vertices in the order in which a primitive joins them."""
    if "indices" in primitive:
        values = file.accessor(primitive["indices"])
        if values.dtype.kind != "u" or values.shape[1] != 1:
            raise InputError(f"{file.path}: {what} has indices that are no unsigned integers; export it again")
        indices = values[:, 0].astype(np.int64)
    else:
        indices = np.arange(count)
    if primitive.get("mode", TRIANGLES) == TRIANGLES and len(indices) % 3:
        raise InputError(f"{file.path}: {what} ends in the middle of a triangle; export it again")
    return indices


def triangles(indices: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
    """int64 [F, 3], the triangles of a list, strip or fan, wound as glTF 2.0 says; degenerate ones are kept."""
    if mode == TRIANGLES:
        return indices.reshape(-1, 3)
    start = np.arange(max(0, len(indices) - 2))
    if mode == STRIP:
        odd = start % 2
        return np.stack([indices[start], indices[start + 1 + odd], indices[start + 2 - odd]], axis=1)
    return np.stack([indices[start + 1], indices[start + 2], indices[np.zeros_like(start)]], axis=1)


def _add_targets(
    file: GltfFile, primitive: Item, weights: tuple[float, ...], values: dict[str, NDArray[Any]], what: str
) -> None:
    """Add each morph target times its weight to the attributes that are read."""
    targets = primitive.get("targets", [])
    if len(targets) != len(weights):
        raise InputError(f"{file.path}: {what} has {len(targets)} morph targets and {len(weights)} weights")
    for weight, target in zip(weights, targets, strict=True):
        for name in values:
            if weight == 0 or name not in target:
                continue
            change = file.accessor(target[name])
            base = normalized(values[name]) if name == "COLOR_0" else values[name].astype(np.float64)
            if len(change) != len(base):
                raise InputError(f"{file.path}: {what} has a morph target of {len(change)} {name} for {len(base)}")
            values[name] = base
            values[name][:, : change.shape[1]] += weight * change[:, : base.shape[1]]


def _compact(primitive: Primitive) -> Primitive:
    """Without the vertices that it does not use, where most are unused: primitives may share the vertices of a mesh."""
    count = len(primitive.values["POSITION"])
    if 3 * len(primitive.faces) >= count:
        return primitive
    used, faces = np.unique(primitive.faces, return_inverse=True)
    return Primitive(
        faces.reshape(-1, 3).astype(np.int64), {name: data[used] for name, data in primitive.values.items()}
    )


def _placed(file: GltfFile, primitive: Primitive, placement: Placement, what: str) -> tuple[NDArray[np.float64], bool]:
    """World positions [V, 3] of a primitive's vertices, and whether it is mirrored."""
    positions = primitive.values["POSITION"][:, :3].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # NaN and inf are refused with a message of their own
        if placement.joints is None:
            transform = placement.transform
            return positions @ transform[:3, :3].T + transform[:3, 3], bool(np.linalg.det(transform[:3, :3]) < 0)
        transforms = _skin_transforms(file, primitive, placement.joints, what)
        return np.einsum("vij,vj->vi", transforms[:, :3, :3], positions) + transforms[:, :3, 3], False


def _skin_transforms(
    file: GltfFile, primitive: Primitive, joints: NDArray[np.float64], what: str
) -> NDArray[np.float64]:
    """float64 [V, 4, 4], the mean of the joints' transforms at each vertex, by its weights."""
    values, count = primitive.values, len(primitive.values["POSITION"])
    total, result = np.zeros(count), np.zeros((count, 4, 4))
    sets = [name.removeprefix("JOINTS_") for name in values if name.startswith("JOINTS_")]
    if not sets or any(f"WEIGHTS_{number}" not in values for number in sets):
        raise InputError(
            f"{file.path}: {what} has a skin, but no JOINTS_0 and WEIGHTS_0 of its vertices; export it again"
        )
    for number in sets:
        for joint, weight in zip(values[f"JOINTS_{number}"].T, values[f"WEIGHTS_{number}"].T, strict=True):
            weight = weight.astype(np.float64)
            at = np.where(weight != 0, joint, 0).astype(np.int64)
            if len(at) and (at.min() < 0 or at.max() >= len(joints)):
                raise InputError(f"{file.path}: {what} refers to joint {at.max()} of {len(joints)}; export it again")
            result += weight[:, None, None] * joints[at]
            total += weight
    if not (total > 0).all():
        raise InputError(f"{file.path}: {what}: {int((~(total > 0)).sum())} vertices have no weights; export it again")
    return result / total[:, None, None]
