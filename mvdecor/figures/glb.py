"""Coloured meshes as GLB (binary glTF 2.0), for browsers and 3D programs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from torch import Tensor
from trimesh.exchange.gltf import export_glb

from mvdecor.errors import InputError
from mvdecor.files import write_atomically
from mvdecor.shapes.shape import Shape


def write_glb(path: Path | str, shape: Shape, face_colours: Tensor | np.ndarray) -> None:
    """Write a shape as one mesh with the colour of each face on three vertices of its own.

    Face f is vertices 3f, 3f+1, 3f+2, in the shape's own order. Colours are stored as glTF wants those of vertices: linear,
    8 bits a channel, so they differ from the given ones in value, and on the screen by about a level. The material is matt
    and two-sided, since windings of CAD meshes are not to be trusted. The file appears complete or not at all; parents are
    created.

    Args:
        path: the file.
        shape: the mesh.
        face_colours: uint8 [F, 3], RGB (sRGB, as in pictures).

    Raises:
        InputError: if there is not one colour a face, or the file cannot be written.
    """
    colours = face_colours.cpu().numpy() if isinstance(face_colours, Tensor) else face_colours
    if colours.shape != (shape.num_faces, 3):
        raise InputError(f"shape {shape.id}: colours {list(colours.shape)} for {shape.num_faces} faces; give [F, 3]")
    vertices = shape.vertices.cpu().numpy()
    transform = None
    if (
        vertices.dtype == np.float64
    ):  # glTF's are float32: of a shape that these would blur, place and size are in the node
        place = vertices.mean(axis=0)
        size = np.abs(vertices - place).max() or 1.0
        vertices = ((vertices - place) / size).astype(np.float32)
        transform = np.diag([size, size, size, 1.0])
        transform[:3, 3] = place
    corners = vertices[shape.faces.cpu().numpy()]
    write_atomically(path, glb_bytes(shape.id, corners, colours[:, None].repeat(3, axis=1), transform))


def glb_bytes(name: str, corners: np.ndarray, colours: np.ndarray, transform: np.ndarray | None = None) -> bytes:
    """The content of a GLB file of faces that share no vertex, see `write_glb`.

    Args:
        name: of the geometry.
        corners: float32 [F, 3, 3], the positions of each face's corners.
        colours: uint8 [F, 3, 3], RGB (sRGB) of each corner, blended over the face.
        transform: float64 [4, 4], of the node; None: the identity.
    """
    opaque = np.full((3 * len(corners), 1), 255, dtype=np.uint8)
    mesh = trimesh.Trimesh(
        corners.reshape(-1, 3),
        np.arange(3 * len(corners)).reshape(-1, 3),
        vertex_colors=np.concatenate([linear(colours).reshape(-1, 3), opaque], axis=1),
        process=False,
    )
    scene = trimesh.Scene()
    scene.add_geometry(mesh, geom_name=name, transform=transform)
    return export_glb(scene, include_normals=False, tree_postprocessor=_add_material)


def linear(colours: np.ndarray) -> np.ndarray:
    """uint8 [..., 3] of sRGB (IEC 61966-2-1) as linear RGB, uint8 [..., 3]."""
    value = np.arange(256) / 255
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return (255 * table).round().astype(np.uint8)[colours]


def _add_material(tree: dict[str, Any]) -> None:
    """Without a material viewers take the default one, which is a metal: nearly black where nothing is reflected."""
    matt = {"baseColorFactor": [1.0, 1.0, 1.0, 1.0], "metallicFactor": 0.0, "roughnessFactor": 1.0}
    tree["materials"] = [{"name": "parts", "pbrMetallicRoughness": matt, "doubleSided": True}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
