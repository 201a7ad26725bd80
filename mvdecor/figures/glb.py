"""Coloured meshes as GLB (binary glTF 2.0), for browsers and 3D programs."""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.figures.glb_file import VERTICES, Glb, JsonObject, matt
from mvdecor.files import write_atomically
from mvdecor.shapes.gltf_materials import linear
from mvdecor.shapes.shape import Shape

CELL = 4
"""Pixels along the side of a colour in the palette image, so that no program's smoothing blends two colours."""
NEAREST, CLAMP = 9728, 33071
LINEAR = (65535 * linear(np.arange(256) / 255)).round().astype(np.uint16)
"""The linear value of each sRGB value."""


def write_glb(path: Path | str, shape: Shape, face_colours: Tensor | np.ndarray) -> None:
    """Write a shape as one mesh with one colour per face, which every program shows as it is given.

    Face f is vertices 3f, 3f+1, 3f+2, in the shape's own order. The colours are the texels of a small image, at which all
    three corners of a face point: some programs show no colours of vertices beside a material, and programs differ in
    whether they take colours of vertices and materials as linear; images are sRGB everywhere. The material is matt and
    two-sided. The file appears complete or not at all; parents are created.

    Args:
        path: the file.
        shape: the mesh.
        face_colours: uint8 [F, 3], RGB (sRGB, as in pictures).

    Raises:
        InputError: if there is not one colour per face, or the file cannot be written.
    """
    colours = face_colours.cpu().numpy() if isinstance(face_colours, Tensor) else face_colours
    if colours.shape != (shape.num_faces, 3):
        raise InputError(f"shape {shape.id}: colours {list(colours.shape)} for {shape.num_faces} faces; give [F, 3]")
    image, uv = palette_image(colours.astype(np.uint8))
    glb = Glb()
    sampler = glb.add("samplers", {"magFilter": NEAREST, "minFilter": NEAREST, "wrapS": CLAMP, "wrapT": CLAMP})
    texture = glb.add("textures", {"source": glb.image("colours", png(image)), "sampler": sampler})
    material = glb.add("materials", matt("colours", baseColorTexture={"index": texture}))
    corners, place = placed_corners(shape)
    attributes = {
        "POSITION": glb.accessor(corners.reshape(-1, 3), VERTICES),
        "TEXCOORD_0": glb.accessor(uv.repeat(3, axis=0), VERTICES),
    }
    mesh = glb.add("meshes", {"name": shape.id, "primitives": [{"attributes": attributes, "material": material}]})
    add_scene(glb, [glb.add("nodes", {"name": shape.id, "mesh": mesh})], shape.id, place)
    write_atomically(path, glb.content())


def add_scene(glb: Glb, nodes: list[int], name: str, place: JsonObject) -> None:
    """Make nodes the file's scene, below one that has the fields `place` if there are any."""
    if place:
        nodes = [glb.add("nodes", {"name": f"{name} (place)", **place, "children": nodes})]
    glb.tree.update(scene=glb.add("scenes", {"nodes": nodes}))


def placed_corners(shape: Shape) -> tuple[NDArray[np.float32], JsonObject]:
    """Corners float32 [F, 3, 3], and the translation and scale of the node that puts them where they are.

    glTF's positions are float32: of a shape with float64 vertices, which these would blur, the node has place and size.
    """
    vertices, faces = shape.vertices.cpu().numpy(), shape.faces.cpu().numpy()
    if vertices.dtype != np.float64:
        return vertices[faces], {}
    low, high = vertices[faces].min(axis=(0, 1)), vertices[faces].max(axis=(0, 1))
    center = low / 2 + high / 2
    size = 2.0 ** math.frexp(float((high / 2 - low / 2).max()))[1]  # a power of two rounds nothing
    place = {"translation": center.tolist(), "scale": [size, size, size]}
    return ((vertices - center) / size).astype(np.float32)[faces], place


def palette_image(colours: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """An image [S, S, 3] of the distinct ones of colours [F, 3], and where each lies in it, float32 [F, 2] (v down)."""
    distinct, place = np.unique(colours, axis=0, return_inverse=True)
    side = 2 ** math.ceil(math.log2(math.ceil(math.sqrt(len(distinct)))))
    cells = np.zeros((side * side, 3), dtype=np.uint8)
    cells[: len(distinct)] = distinct
    image = cells.reshape(side, side, 3).repeat(CELL, axis=0).repeat(CELL, axis=1)
    row, column = np.divmod(place.reshape(-1), side)
    return image, ((np.stack([column, row], axis=1) + 0.5) / side).astype(np.float32)


def png(image: NDArray[np.uint8]) -> bytes:
    """A picture [H, W, 3] as a PNG file."""
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, format="PNG")
    return stream.getvalue()


def glb_bytes(name: str, corners: np.ndarray, colours: np.ndarray, opacity: float = 1.0) -> bytes:
    """The content of a GLB file of faces that share no vertex, with a colour at each corner, blended over the face.

    The colours are attributes of vertices, which three.js and Blender show, but not every program beside a material
    (`write_glb` is for those). They are linear, of 16 bits: every sRGB value of 8 bits is reproduced exactly.

    Args:
        name: of the geometry.
        corners: float32 [F, 3, 3], the positions of each face's corners.
        colours: uint8 [F, 3, 3], RGB (sRGB) of each corner.
        opacity: of the material, in [0, 1]; below 1 what is behind shines through.
    """
    glb = Glb()
    stored = LINEAR[colours].reshape(-1, 3)
    opaque = np.full((len(stored), 1), 65535, dtype=np.uint16)
    attributes = {
        "POSITION": glb.accessor(corners.astype(np.float32).reshape(-1, 3), VERTICES),
        "COLOR_0": glb.accessor(np.concatenate([stored, opaque], axis=1), VERTICES, normalized=True),
    }
    blend = {} if opacity == 1 else {"alphaMode": "BLEND"}
    material = glb.add("materials", {**matt("colours", baseColorFactor=[1.0, 1.0, 1.0, opacity]), **blend})
    mesh = glb.add("meshes", {"name": name, "primitives": [{"attributes": attributes, "material": material}]})
    add_scene(glb, [glb.add("nodes", {"name": name, "mesh": mesh})], name, {})
    return glb.content()
