"""Folders of shapes as PartNet and PartNet-Mobility have them: a part tree, part files that it names, and a category."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mvdecor.errors import InputError
from mvdecor.files import read_json
from mvdecor.shapes.obj import ObjMesh

DOWNLOAD_SHAPE = "download the shape again, or leave it out with data.on_error=skip"


def shape_folders(root: Path) -> list[str]:
    """Names of the folders in `root`, numbers first and in their order; hidden ones are left out."""
    names = [folder.name for folder in root.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
    return sorted(names, key=lambda name: (not name.isdecimal(), int(name) if name.isdecimal() else 0, name))


def read_parts(path: Path) -> list[tuple[str, str | None]]:
    """Part files of a shape, in the order in which its tree first names them.

    Args:
        path: the tree: a JSON list of one root node {"name", "objs": names of part files without ending, "children"}.

    Returns:
        (name, path of the leaf that holds the file, such as "chair/chair_base/leg", or None if no leaf does) of each file.

    Raises:
        InputError: the file is missing or malformed, names no plain file, or has a file in two leaves.
    """
    tree = read_json(path, DOWNLOAD_SHAPE)
    if not isinstance(tree, list) or len(tree) != 1:
        raise InputError(f"{path}: should be a list of one root node; {DOWNLOAD_SHAPE}")
    parts: dict[str, str | None] = {}
    for node_path, node in _walk(tree[0], "", path):
        obj_names = node.get("objs") or []
        if not isinstance(obj_names, list) or not all(isinstance(name, str) for name in obj_names):
            raise InputError(f"{path}: 'objs' of {node_path} should be a list of names; {DOWNLOAD_SHAPE}")
        for name in obj_names:
            if not name or "/" in name or "\\" in name or ".." in name:
                raise InputError(f"{path}: {node_path} names the file {name!r}, no plain name; {DOWNLOAD_SHAPE}")
            parts.setdefault(name, None)
            if not node.get("children"):
                if parts[name] not in (None, node_path):
                    raise InputError(f"{path}: both {parts[name]} and {node_path} hold {name}; {DOWNLOAD_SHAPE}")
                parts[name] = node_path
    if not parts:
        raise InputError(f"{path}: names no part files; {DOWNLOAD_SHAPE}")
    return list(parts.items())


def _walk(node: Any, parent: str, file: Path) -> Iterator[tuple[str, dict]]:
    """(path, node) of a tree, a node before its children."""
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        raise InputError(f"{file}: a node below {parent or 'the root'!r} has no name; {DOWNLOAD_SHAPE}")
    path = f"{parent}/{node['name']}" if parent else node["name"]
    yield path, node
    children = node.get("children") or []
    if not isinstance(children, list):
        raise InputError(f"{file}: 'children' of {path} should be a list of nodes; {DOWNLOAD_SHAPE}")
    for child in children:
        yield from _walk(child, path, file)


def read_category(folder: Path) -> str:
    """The entry `model_cat` of a shape's `meta.json`, such as "Chair"; InputError if it is not there."""
    meta = read_json(folder / "meta.json", DOWNLOAD_SHAPE)
    if not isinstance(meta, dict) or not isinstance(meta.get("model_cat"), str):
        raise InputError(f"{folder / 'meta.json'}: has no 'model_cat'; {DOWNLOAD_SHAPE}")
    return meta["model_cat"]


def concatenate(meshes: list[ObjMesh]) -> tuple[np.ndarray, np.ndarray]:
    """float64 [V, 3] and int64 [F, 3] of several meshes one after the other."""
    offsets = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes])
    faces = [mesh.faces + offset for mesh, offset in zip(meshes, offsets[:-1], strict=True)]
    return np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(faces)
