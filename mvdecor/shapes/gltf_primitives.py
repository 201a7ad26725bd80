"""Primitives of glTF meshes: their triangles and attributes, compressed or not, with morph targets and skins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.shapes.gltf_file import GltfFile, JsonObject, normalized

DRACO = "KHR_draco_mesh_compression"
TRIANGLES, STRIP, FAN = 4, 5, 6  # modes of a primitive that are surfaces
READ = ("POSITION", "TEXCOORD_", "COLOR_0", "JOINTS_", "WEIGHTS_")  # attributes; normals are the faces' own


@dataclass(frozen=True)
class Primitive:
    """Triangles [F, 3] of a primitive and its attributes [V, components], with morph targets added."""

    faces: NDArray[np.int64]
    values: dict[str, NDArray[Any]]


def read_primitive(file: GltfFile, primitive: JsonObject, weights: tuple[float, ...], subject: str) -> Primitive:
    """A primitive of a mesh.

    Args:
        file: the file.
        primitive: of the JSON.
        weights: of its morph targets; () for none.
        subject: the primitive, for messages.

    Raises:
        InputError: attributes or indices that do not fit together, or cannot be decompressed.
    """
    attributes = dict(primitive["attributes"])
    if "POSITION" not in attributes:
        raise InputError(f"{file.path}: {subject} has no POSITION; export it again")
    draco = primitive.get("extensions", {}).get(DRACO)
    values: dict[str, NDArray[Any]] = {}
    faces = None
    if draco is not None:
        faces, values = file.draco(draco, subject)
        for name, components in values.items():
            accessor = file.item("accessors", attributes[name])
            # DracoPy gives positions as floats whatever they were
            components = components.astype(file.dtype(accessor, subject))
            values[name] = normalized(components) if accessor.get("normalized") else components
    for name, number in attributes.items():
        if name not in values and name.startswith(READ):
            values[name] = file.accessor(number)
    for name in ("POSITION", "COLOR_0"):
        if name in values and values[name].shape[1] < 3:
            raise InputError(f"{file.path}: {subject}: its {name} has {values[name].shape[1]} numbers instead of 3")
    count = len(values["POSITION"])
    for name, components in values.items():
        if len(components) != count:
            raise InputError(
                f"{file.path}: {subject} has {count} positions and {len(components)} {name}; export it again"
            )
    if faces is None:
        faces = triangles(_indices(file, primitive, count, subject), primitive.get("mode", TRIANGLES))
    if len(faces) and int(faces.max()) >= count:
        raise InputError(f"{file.path}: {subject} refers to vertex {int(faces.max())} of {count}; export it again")
    if weights:
        _add_targets(file, primitive, weights, values, subject)
    return _compact(Primitive(faces, values))


def _indices(file: GltfFile, primitive: JsonObject, count: int, subject: str) -> NDArray[np.int64]:
    """int64 [N], the vertices in the order in which a primitive joins them."""
    if "indices" in primitive:
        values = file.accessor(primitive["indices"])
        if values.dtype.kind != "u" or values.shape[1] != 1:
            raise InputError(f"{file.path}: {subject} has indices that are no unsigned integers; export it again")
        indices = values[:, 0].astype(np.int64)
    else:
        indices = np.arange(count)
    if primitive.get("mode", TRIANGLES) == TRIANGLES and len(indices) % 3:
        raise InputError(f"{file.path}: {subject} ends in the middle of a triangle; export it again")
    return indices


def triangles(indices: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
    """int64 [F, 3], the triangles of a list, strip or fan, wound as glTF 2.0 says; degenerate ones are kept."""
    if mode == TRIANGLES:
        return indices.reshape(-1, 3)
    start = np.arange(max(0, len(indices) - 2))
    if mode == STRIP:
        parity = start % 2
        return np.stack([indices[start], indices[start + 1 + parity], indices[start + 2 - parity]], axis=1)
    return np.stack([indices[start + 1], indices[start + 2], indices[np.zeros_like(start)]], axis=1)


def _add_targets(
    file: GltfFile, primitive: JsonObject, weights: tuple[float, ...], values: dict[str, NDArray[Any]], subject: str
) -> None:
    """Add each morph target times its weight to the attributes that are read."""
    targets = primitive.get("targets", [])
    if len(targets) != len(weights):
        raise InputError(f"{file.path}: {subject} has {len(targets)} morph targets and {len(weights)} weights")
    for weight, target in zip(weights, targets, strict=True):
        for name in values:
            if weight == 0 or name not in target:
                continue
            change = file.accessor(target[name])
            base = normalized(values[name]) if name == "COLOR_0" else values[name].astype(np.float64)
            if len(change) != len(base):
                raise InputError(f"{file.path}: {subject} has a morph target of {len(change)} {name} for {len(base)}")
            values[name] = base
            values[name][:, : change.shape[1]] += weight * change[:, : base.shape[1]]


def _compact(primitive: Primitive) -> Primitive:
    """Without the vertices that it does not use, where most are unused: primitives may share the vertices of a mesh."""
    count = len(primitive.values["POSITION"])
    if 3 * len(primitive.faces) >= count:
        return primitive
    vertex_ids, faces = np.unique(primitive.faces, return_inverse=True)
    return Primitive(
        faces.reshape(-1, 3).astype(np.int64),
        {name: components[vertex_ids] for name, components in primitive.values.items()},
    )


def skin_transforms(
    file: GltfFile, primitive: Primitive, joints: NDArray[np.float64], subject: str
) -> NDArray[np.float64]:
    """float64 [V, 4, 4], the mean of the joints' transforms at each vertex, by its weights."""
    values, count = primitive.values, len(primitive.values["POSITION"])
    total, result = np.zeros(count), np.zeros((count, 4, 4))
    sets = [name.removeprefix("JOINTS_") for name in values if name.startswith("JOINTS_")]
    if not sets or any(f"WEIGHTS_{number}" not in values for number in sets):
        raise InputError(
            f"{file.path}: {subject} has a skin, but no JOINTS_0 and WEIGHTS_0 of its vertices; export it again"
        )
    for number in sets:
        for joint, weight in zip(values[f"JOINTS_{number}"].T, values[f"WEIGHTS_{number}"].T, strict=True):
            weight = weight.astype(np.float64)
            joint_ids = np.where(weight != 0, joint, 0).astype(np.int64)
            if len(joint_ids) and (joint_ids.min() < 0 or joint_ids.max() >= len(joints)):
                raise InputError(
                    f"{file.path}: {subject} refers to joint {joint_ids.max()} of {len(joints)}; export it again"
                )
            result += weight[:, None, None] * joints[joint_ids]
            total += weight
    if not (total > 0).all():
        raise InputError(
            f"{file.path}: {subject}: {int((~(total > 0)).sum())} vertices have no weights; export it again"
        )
    return result / total[:, None, None]
