"""Objects of a mesh file: which of its nodes or groups each face belongs to."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mvdecor.shapes.gltf import read_gltf
from mvdecor.shapes.obj import read_obj


def read_objects(path: Path | str) -> NDArray[np.int64] | None:
    """The object of each triangle of a file, in the order of `read_mesh`.

    In glTF an object is what a node places, each instance for itself. In OBJ it is what follows an `o` line, or, in a file
    without any, a `g` line; lines of one name are one object.

    Returns:
        int64 [F], the same number for the faces of an object; None for a format that has no objects (PLY, OFF, STL).

    Raises:
        InputError: the file cannot be read.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".obj":
        return read_obj(path).object_ids
    if suffix in (".glb", ".gltf"):
        mesh = read_gltf(path, textures=False)
        places = np.stack([mesh.face_nodes, mesh.face_instances], axis=1)
        return np.unique(places, axis=0, return_inverse=True)[1].reshape(-1)
    return None
