"""Textured meshes as GLB and OBJ."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mvdecor.errors import InputError
from mvdecor.figures.glb import CLAMP, add_scene, placed_corners, png
from mvdecor.figures.glb_file import VERTICES, Glb, matt
from mvdecor.files import write_atomically
from mvdecor.shapes.shape import Shape

LINEAR = 9729


def write_textured_glb(path: Path | str, shape: Shape) -> None:
    """Write a shape with a texture of one image as GLB (`textured_glb`).

    Raises:
        InputError: no texture of one image, or the file cannot be written.
    """
    write_atomically(path, textured_glb(shape))


def textured_glb(shape: Shape) -> bytes:
    """The content of a GLB file of a shape with a texture of one image.

    Face f is vertices 3f, 3f+1, 3f+2, in the shape's own order. The image is not repeated beyond its border. The material is
    matt and two-sided.

    Raises:
        InputError: no texture of one image.
    """
    image, uv = _single_image(shape)
    glb = Glb()
    sampler = glb.add("samplers", {"magFilter": LINEAR, "minFilter": LINEAR, "wrapS": CLAMP, "wrapT": CLAMP})
    texture = glb.add("textures", {"source": glb.image("texture", png(image)), "sampler": sampler})
    material = glb.add("materials", matt("texture", baseColorTexture={"index": texture}))
    corners, place = placed_corners(shape)
    down = np.stack([uv[..., 0], 1 - uv[..., 1]], axis=-1)  # glTF's v points down
    attributes = {
        "POSITION": glb.accessor(corners.reshape(-1, 3), VERTICES),
        "TEXCOORD_0": glb.accessor(down.reshape(-1, 2).astype(np.float32), VERTICES),
    }
    mesh = glb.add("meshes", {"name": shape.id, "primitives": [{"attributes": attributes, "material": material}]})
    add_scene(glb, [glb.add("nodes", {"name": shape.id, "mesh": mesh})], shape.id, place)
    return glb.content()


def write_textured_obj(path: Path | str, shape: Shape) -> None:
    """Write a shape with a texture of one image as OBJ, with .mtl and .png of the same stem beside it; the OBJ comes last.

    Raises:
        InputError: no texture of one image, or a file cannot be written.
    """
    path = Path(path)
    image, uv = _single_image(shape)
    lines = [f"mtllib {path.stem}.mtl", "usemtl texture"]
    lines += [f"v {x:.7g} {y:.7g} {z:.7g}" for x, y, z in shape.vertices.tolist()]
    lines += [f"vt {u:.6f} {v:.6f}" for u, v in uv.reshape(-1, 2).tolist()]
    for number, (a, b, c) in enumerate((shape.faces + 1).tolist()):
        first = 3 * number + 1
        lines.append(f"f {a}/{first} {b}/{first + 1} {c}/{first + 2}")
    write_atomically(path.with_suffix(".png"), png(image))
    material = f"newmtl texture\nKd 1 1 1\nmap_Kd -clamp on {path.stem}.png\n"
    write_atomically(path.with_suffix(".mtl"), material.encode())
    write_atomically(path, ("\n".join(lines) + "\n").encode())


def _single_image(shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [H, W, 3] and float32 [F, 3, 2], the image and the texture coordinates."""
    texture = shape.texture
    if texture is None or len(texture.images) != 1:
        raise InputError(f"shape {shape.id}: it has no texture of one image: give it one")
    return texture.images[0].cpu().numpy(), texture.uv.cpu().numpy()
