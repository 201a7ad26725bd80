"""Colours of OBJ files: materials of `.mtl` files and their images as a `Texture`."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import named_file
from mvdecor.shapes.obj import ObjMesh
from mvdecor.shapes.shape import Texture

PLAIN = (0.8, 0.8, 0.8)
"""Colour of a face without material, and of a material that states none."""


@dataclass
class Material:
    """One `newmtl`: colour (RGB in [0, 1]) and the image file that replaces it where a face has texture coordinates."""

    color: tuple[float, ...] = PLAIN
    image: Path | None = None


def plain_image(color: tuple[float, ...]) -> Tensor:
    """uint8 [1, 1, 3] of a colour with components in [0, 1]."""
    return torch.tensor([round(255 * min(max(value, 0.0), 1.0)) for value in color], dtype=torch.uint8).view(1, 1, 3)


def image_tensor(image: Image.Image, max_size: int | None = None) -> Tensor:
    """uint8 [H, W, 3] of a Pillow image without its alpha; reduced so that no side exceeds `max_size`."""
    if image.mode.startswith("I"):  # 16 bits a pixel, which Pillow's own conversion would cut off at 255
        image = Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers of no stated range")
    image = image.convert("RGB")
    if max_size is not None and max(image.size) > max_size:
        image.thumbnail((max_size, max_size), Image.Resampling.BOX)
    return torch.from_numpy(np.array(image))


def corner_image(colours: NDArray[np.uint8]) -> tuple[Tensor, NDArray[np.float64]]:
    """An image that gives the corners of each face their colours, and points within it what lies linearly between.

    Each face has 2 x 2 texels of its own, of which its corners are three; the fourth makes bilinear colours linear, as
    far as 8 bits go: where it would have to be darker than black or brighter than white, colours between the corners are
    off by a quarter of what is missing at most.

    Args:
        colours: uint8 [F, 3, 3], F > 0: RGB of each corner of each face.

    Returns:
        uint8 [H, W, 3] and the texture coordinates [F, 3, 2] of each corner.
    """
    values = colours.astype(np.int64)
    fourth = values.sum(axis=1, keepdims=True) - 2 * values  # across from each corner
    beyond = np.abs(fourth - fourth.clip(0, 255)).max(axis=2)
    face, side = np.arange(len(colours)), math.ceil(math.sqrt(len(colours)))
    order = (beyond.argmin(axis=1)[:, None] + np.arange(3)) % 3  # the corner across from the fourth texel comes first
    block = np.zeros((side * side, 4, 3), dtype=np.uint8)
    block[face[:, None], np.arange(3)] = colours[face[:, None], order]
    block[face, 3] = fourth[face, order[:, 0]].clip(0, 255)
    image = block.reshape(side, side, 2, 2, 3).swapaxes(1, 2).reshape(2 * side, 2 * side, 3)
    texel = 2 * np.stack([face % side, face // side], axis=1)[:, None] + np.array([[0, 0], [1, 0], [0, 1]])
    uv = np.empty((len(colours), 3, 2))
    uv[face[:, None], order] = (texel + 0.5) / (2 * side)
    uv[..., 1] = 1 - uv[..., 1]
    return torch.from_numpy(np.ascontiguousarray(image)), uv


def read_image(path: Path, max_size: int | None = None) -> Tensor:
    """uint8 [H, W, 3] of an image file.

    Raises:
        InputError: missing, unreadable or too large for Pillow's limit.
    """
    try:
        with Image.open(path) as image:
            return image_tensor(image, max_size)
    except FileNotFoundError as error:
        raise InputError(f"{path}: texture image is missing; put it there, or remove the material's map_Kd") from error
    except (OSError, UnidentifiedImageError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: texture image cannot be read ({error}); export or download it again") from error


def read_mtl(path: Path) -> dict[str, Material]:
    """Materials of an MTL file by name: `Kd` and `map_Kd`; everything else about the surface is left out.

    Raises:
        InputError: missing or malformed file, or a `map_Kd` that scales or shifts its image (bake it in).
    """
    try:
        text = path.read_bytes().decode("utf-8", errors="surrogateescape")
    except OSError as error:
        raise InputError(
            f"{path}: material file cannot be read ({error.strerror}); put it there, or remove the OBJ's mtllib line"
        ) from error
    materials: dict[str, Material] = {}
    current = Material()
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        value = value.strip()
        if key == "newmtl":
            current = materials.setdefault(value, Material())
        elif key == "Kd":
            current.color = _color(value, path)
        elif key == "map_Kd":
            current.image = _image_path(value, path)
    return materials


def _color(value: str, path: Path) -> tuple[float, ...]:
    words = value.split()
    if len(words) not in (1, 3) or not all(_is_number(word) for word in words):
        raise InputError(f"{path}: 'Kd {value}' is no colour; write three numbers from 0 to 1")
    red, green, blue = words if len(words) == 3 else words * 3  # "Kd r" alone is grey, by the format
    return float(red), float(green), float(blue)


def _image_path(value: str, path: Path) -> Path:
    """The file that a `map_Kd` names, after its options."""
    words = value.split()
    while words and words[0].startswith("-"):
        option = words.pop(0)
        arguments = []
        while len(words) > 1 and (_is_number(words[0]) or words[0] in ("on", "off")):
            arguments.append(words.pop(0))
        if (option == "-s" and any(float(x) != 1 for x in arguments)) or (
            option == "-o" and any(float(x) != 0 for x in arguments)
        ):
            raise InputError(f"{path}: 'map_Kd {value}' scales or shifts its image; bake that into the vt lines")
    return named_file(" ".join(words), path, (".", "tex"))


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def obj_texture(mesh: ObjMesh, path: Path, max_size: int | None = None) -> Texture | None:
    """Texture of an OBJ file that was read from `path`, or None if it has neither materials nor colours of vertices.

    A face whose material has an image takes it through its texture coordinates; any other face has the plain colour of
    its material (`PLAIN` without one). Images that several materials share are stored once. Without materials, colours in
    the `v` lines count.

    Raises:
        InputError: a missing material file, material or image.
    """
    if len(mesh.faces) == 0:
        return None
    if not mesh.libraries or not mesh.materials:
        if mesh.colors is None:
            return None
        image, uv = corner_image((255 * mesh.colors[mesh.faces]).round().astype(np.uint8))
        return Texture(torch.from_numpy(uv).float(), (image,), torch.zeros(len(mesh.faces), dtype=torch.int64))
    known: dict[str, Material] = {}
    for library in _library_paths(mesh.libraries, path):
        known.update(read_mtl(library))
    used = np.unique(mesh.material_ids)
    missing = [mesh.materials[i] for i in used if i >= 0 and mesh.materials[i] not in known]
    if missing:
        raise InputError(f"{path}: material {missing[0]!r} is in none of {', '.join(mesh.libraries)}; add it there")

    has_uv = (mesh.uv_faces >= 0).all(axis=1)
    images: list[Tensor] = []
    index: dict[Path | tuple[float, ...], int] = {}
    image_ids = np.empty(len(mesh.faces), dtype=np.int64)
    for number in used:
        material = known[mesh.materials[number]] if number >= 0 else Material()
        of_material = mesh.material_ids == number
        for faces, source in (
            (of_material & has_uv, material.image or material.color),
            (of_material & ~has_uv, material.color),
        ):
            if not faces.any():
                continue
            if source not in index:
                index[source] = len(images)
                images.append(read_image(source, max_size) if isinstance(source, Path) else plain_image(source))
            image_ids[faces] = index[source]
    uv = np.zeros((len(mesh.faces), 3, 2))
    uv[has_uv] = mesh.uvs[mesh.uv_faces[has_uv]]
    return Texture(torch.from_numpy(uv).float(), tuple(images), torch.from_numpy(image_ids))


def _library_paths(libraries: tuple[str, ...], path: Path) -> list[Path]:
    """One `mtllib` line may name several files, or one file with spaces in its name."""
    result: list[Path] = []
    for library in libraries:
        several = [path.parent / word for word in library.split()]
        if len(several) > 1 and not os.path.isfile(path.parent / library) and all(map(os.path.isfile, several)):
            result += [named_file(word, path) for word in library.split()]
        else:
            result.append(named_file(library, path))
    return result
