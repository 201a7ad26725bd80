"""Where the nodes of a glTF file place its meshes."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvdecor.errors import InputError
from mvdecor.shapes.gltf_file import GltfFile, JsonObject

INSTANCING = "EXT_mesh_gpu_instancing"


@dataclass(frozen=True)
class Placement:
    """A mesh that a node (or one instance of a node) places.

    Attributes:
        node: number of the node; -1 in a file without nodes.
        instance: number of the instance, 0 without EXT_mesh_gpu_instancing.
        mesh: number of the mesh.
        transform: float64 [4, 4], from the mesh's frame to the world's.
        joints: float64 [J, 4, 4], of a skinned mesh: from the mesh's frame to the world's, per joint, instead of
            `transform`; None without a skin.
        weights: of the node for the mesh's morph targets; None where it states none.
    """

    node: int
    instance: int
    mesh: int
    transform: NDArray[np.float64]
    joints: NDArray[np.float64] | None = None
    weights: tuple[float, ...] | None = None


def read_placements(file: GltfFile) -> list[Placement]:
    """What the default scene places (the first, where none is named; every root where there are no scenes).

    Sorted by mesh, node and instance. Nodes that KHR_node_visibility hides, and those below, are left out.

    Raises:
        InputError: nodes that are no tree, transforms that are none.
    """
    nodes = file.items("nodes")
    if not nodes:
        return [Placement(-1, 0, mesh, np.eye(4)) for mesh in range(len(file.items("meshes")))]
    parents = _parents(file)
    world = _world_transforms(file, parents)
    visible = _shown(file, parents)
    left_out = sum("mesh" in node for number, node in enumerate(nodes) if number not in visible)
    if left_out:
        warnings.warn(
            f"{file.path}: {left_out} of its nodes with meshes are not shown by its scene: left out", stacklevel=2
        )
    placements: list[Placement] = []
    for number in sorted(visible):
        if "mesh" in nodes[number]:
            file.item("meshes", nodes[number]["mesh"])
            placements += _placements(file, number, world)
    return sorted(placements, key=lambda placement: (placement.mesh, placement.node, placement.instance))


def _placements(file: GltfFile, number: int, world: NDArray[np.float64]) -> list[Placement]:
    node = file.item("nodes", number)
    weights = tuple(float(weight) for weight in node["weights"]) if "weights" in node else None
    instancing = node.get("extensions", {}).get(INSTANCING)
    if "skin" in node:
        if instancing is not None:
            raise InputError(
                f"{file.path}: nodes[{number}] has both a skin and {INSTANCING}; export it with one of them"
            )
        joints = _joints(file, node["skin"], world)
        return [Placement(number, 0, node["mesh"], np.eye(4), joints, weights)]
    if instancing is None:
        return [Placement(number, 0, node["mesh"], world[number], None, weights)]
    transforms = world[number] @ _instances(file, instancing, f"{INSTANCING} of nodes[{number}]")
    return [Placement(number, i, node["mesh"], transform, None, weights) for i, transform in enumerate(transforms)]


def _parents(file: GltfFile) -> list[int]:
    """The parent of each node, -1 for a root."""
    nodes = file.items("nodes")
    parents = [-1] * len(nodes)
    for number, node in enumerate(nodes):
        for child in node.get("children", []):
            file.item("nodes", child)
            if parents[child] != -1:
                raise InputError(f"{file.path}: nodes[{child}] has two parents; export it again")
            parents[child] = number
    return parents


def _world_transforms(file: GltfFile, parents: list[int]) -> NDArray[np.float64]:
    """float64 [N, 4, 4], the world transform of each node, whether a scene shows it or not: joints may lie elsewhere."""
    nodes = file.items("nodes")
    world = np.array([_local_transform(node, f"{file.path}: nodes[{i}]") for i, node in enumerate(nodes)])
    waiting = [number for number, parent in enumerate(parents) if parent == -1]
    reached = 0
    while waiting:
        number = waiting.pop()
        reached += 1
        for child in nodes[number].get("children", []):
            world[child] = world[number] @ world[child]
            waiting.append(child)
    if reached < len(nodes):
        raise InputError(f"{file.path}: {len(nodes) - reached} of its nodes lie below themselves; export it again")
    return world


def _shown(file: GltfFile, parents: list[int]) -> set[int]:
    """The nodes that the default scene shows."""
    scenes = file.items("scenes")
    if scenes:
        waiting = list(file.item("scenes", file.json.get("scene", 0)).get("nodes", []))
    else:
        waiting = [number for number, parent in enumerate(parents) if parent == -1]
    visible: set[int] = set()
    while waiting:
        number = waiting.pop()
        node = file.item("nodes", number)
        if number in visible:
            raise InputError(f"{file.path}: its scene shows nodes[{number}] twice; export it again")
        if node.get("extensions", {}).get("KHR_node_visibility", {}).get("visible", True):
            visible.add(number)
            waiting += node.get("children", [])
    return visible


def _local_transform(node: JsonObject, subject: str) -> NDArray[np.float64]:
    if "matrix" in node:
        return _numbers(node["matrix"], 16, f"{subject}.matrix").reshape(4, 4).T  # stored column by column
    return transforms(
        _numbers(node.get("translation", (0, 0, 0)), 3, f"{subject}.translation")[None],
        _numbers(node.get("rotation", (0, 0, 0, 1)), 4, f"{subject}.rotation")[None],
        _numbers(node.get("scale", (1, 1, 1)), 3, f"{subject}.scale")[None],
        subject,
    )[0]


def _numbers(values: Sequence[float], count: int, subject: str) -> NDArray[np.float64]:
    numbers = np.array(values, dtype=np.float64)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise InputError(f"{subject} must be {count} numbers; export it again")
    return numbers


def transforms(
    translation: NDArray[np.float64], rotation: NDArray[np.float64], scale: NDArray[np.float64], subject: str
) -> NDArray[np.float64]:
    """float64 [N, 4, 4] that scale, then rotate, then move.

    Args:
        translation: [N, 3].
        rotation: [N, 4], quaternions x, y, z, w of any length but 0.
        scale: [N, 3].
        subject: named in the error.

    Raises:
        InputError: a rotation of length 0.
    """
    length = np.linalg.norm(rotation, axis=1, keepdims=True)
    if not (length > 0).all():
        raise InputError(f"{subject}: a rotation is (0, 0, 0, 0), which is no quaternion; export it again")
    x, y, z, w = (rotation / length).T
    result = np.zeros((len(rotation), 4, 4))
    result[:, 0, :3] = np.stack([1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)], axis=1)
    result[:, 1, :3] = np.stack([2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)], axis=1)
    result[:, 2, :3] = np.stack([2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)], axis=1)
    result[:, :3, :3] *= scale[:, None]
    result[:, :3, 3] = translation
    result[:, 3, 3] = 1
    return result


def _instances(file: GltfFile, extension: JsonObject, subject: str) -> NDArray[np.float64]:
    """float64 [N, 4, 4], from each instance's frame to the node's."""
    attributes = extension["attributes"]
    counts = {
        len(file.accessor(number)) for number in attributes.values()
    }  # of custom ones alone: all where the node is
    if len(counts) != 1:
        raise InputError(f"{file.path}: {subject}: its attributes have {sorted(counts)} instances; export it again")

    (count,) = counts

    def values(name: str, default: tuple[int, ...]) -> NDArray[np.float64]:
        if name not in attributes:
            return np.array([default], dtype=np.float64).repeat(count, axis=0)
        attribute = file.accessor(attributes[name]).astype(np.float64)
        if attribute.shape[1] != len(default):
            raise InputError(f"{file.path}: {subject}: {name} must have {len(default)} numbers per instance")
        return attribute

    translation, rotation, scale = (
        values("TRANSLATION", (0,) * 3),
        values("ROTATION", (0, 0, 0, 1)),
        values("SCALE", (1,) * 3),
    )
    return transforms(translation, rotation, scale, f"{file.path}: {subject}")


def _joints(file: GltfFile, number: int, world: NDArray[np.float64]) -> NDArray[np.float64]:
    """float64 [J, 4, 4], from the frame of a skin's meshes to the world's, per joint: as posed by the nodes (at rest)."""
    skin = file.item("skins", number)
    for joint in skin["joints"]:
        file.item("nodes", joint)
    joints = world[np.array(skin["joints"], dtype=np.int64)]
    if "inverseBindMatrices" not in skin:
        return joints
    inverse = file.accessor(skin["inverseBindMatrices"])
    if inverse.shape[1] != 16 or len(inverse) < len(joints):
        raise InputError(f"{file.path}: skins[{number}] needs a 4 x 4 inverse bind matrix per joint; export it again")
    return joints @ inverse[: len(joints)].astype(np.float64).reshape(-1, 4, 4).swapaxes(1, 2)
