"""Colours of OBJ files: materials of `.mtl` files and their images as a `Texture`."""

from __future__ import annotations

import math
import os
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import named_file, text_of, unquoted
from mvdecor.settings import shown
from mvdecor.shapes.obj import ObjMesh
from mvdecor.shapes.shape import Texture

DEFAULT_COLOUR = (0.8, 0.8, 0.8)
"""Colour of a face without material, and of a material that states none."""


OPTIONS = {
    **{"-s": 3, "-o": 3, "-t": 3, "-mm": 2, "-bm": 1, "-boost": 1, "-texres": 1},
    **{"-blendu": 1, "-blendv": 1, "-cc": 1, "-clamp": 1, "-imfchan": 1, "-type": 1},
}
"""Options of `map_Kd` and how many values each has at most."""
HARMLESS = {"-bm", "-boost", "-texres", "-blendu", "-blendv", "-cc"}
"""Options that change how sharp or how bumpy a picture is, not its colours."""


COMMENT = re.compile(r"\s+#(\s.*)?$")
"""A comment after a value. In a name it counts only where nothing has the name with it: "Material #25" is one."""


@dataclass
class Material:
    """One `newmtl`: colour (RGB in [0, 1]) and the image file that replaces it where a face has texture coordinates.

    Texture coordinates (u, v) become scale * (u, v) + offset. `clamped`: the image should not repeat.
    """

    color: tuple[float, ...] = DEFAULT_COLOUR
    image: Path | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)
    clamped: bool = False


def check_texture_size(size: int | None) -> None:
    """Raise InputError unless a longest side of textures is None (as in the file) or a whole number of pixels."""
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 1):
        raise InputError(f"data.texture_size={shown(size)}: give a whole number of pixels, at least 1, or null")


def plain_image(color: tuple[float, ...]) -> Tensor:
    """uint8 [1, 1, 3] of a colour with components in [0, 1]."""
    return torch.tensor([round(255 * min(max(value, 0.0), 1.0)) for value in color], dtype=torch.uint8).view(1, 1, 3)


def image_tensor(image: Image.Image, max_size: int | None = None) -> Tensor:
    """uint8 [H, W, 3] of a Pillow image without its alpha; reduced so that no side exceeds `max_size`."""
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow's own conversion would cut off at 255
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


def byte_colours(values: NDArray[np.float64], path: Path) -> NDArray[np.uint8] | None:
    """Colours written as numbers, as uint8 of the same form: in [0, 1], or else of 255, or else of 65 535.

    None, with a warning, for colours that are none of these: negative, larger, NaN.
    """
    largest = values.max(initial=0.0)
    if not (np.isfinite(values).all() and (values >= 0).all() and largest <= 65535):
        warnings.warn(
            f"{path}: its colours are not numbers from 0 to 1, to 255 or to 65535: they are left out", stacklevel=2
        )
        return None
    full = 1 if largest <= 1 else 255 if largest <= 255 else 65535
    return (255 / full * values).round().astype(np.uint8)


def complete_texture(
    uv: NDArray[np.float64],
    images: list[Tensor],
    image_ids: NDArray[np.int64],
    colours: NDArray[np.uint8] | None = None,
    coloured: NDArray[np.bool_] | None = None,
) -> Texture:
    """A texture from images of some faces; the others take the colours of their corners, or else `DEFAULT_COLOUR`.

    Args:
        uv: float64 [F, 3, 2]; of no meaning where a face has no image.
        images: those that `image_ids` refers to.
        image_ids: int64 [F], -1 for none.
        colours: uint8 [F, 3, 3], RGB of the corners of all faces.
        coloured: bool [F], which faces have such colours; None: all.
    """
    images, uv, image_ids = list(images), uv.copy(), image_ids.copy()
    bare = image_ids < 0
    if colours is not None:
        painted = bare if coloured is None else bare & coloured
        if painted.any():
            image, uv[painted] = corner_image(colours[painted])
            image_ids[painted] = len(images)
            images.append(image)
        bare = bare & ~painted
    if bare.any():
        uv[bare] = 0
        image_ids[bare] = len(images)
        images.append(plain_image(DEFAULT_COLOUR))
    return Texture(torch.from_numpy(uv).float(), tuple(images), torch.from_numpy(image_ids))


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
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:  # Pillow's for damaged PNG files
        raise InputError(f"{path}: texture image cannot be read ({error}); export or download it again") from error


def read_mtl(path: Path) -> dict[str, Material]:
    """Materials of an MTL file by name: `Kd` (sRGB, as it is) and `map_Kd`; everything else about the surface is left out.

    Words may be separated by spaces or tabs; in names each run of them is one space.

    Raises:
        InputError: missing or malformed file, or a `map_Kd` with an option that changes its colours or is unknown.
    """
    try:
        text = text_of(path.read_bytes())
    except (OSError, ValueError) as error:  # the latter for what cannot be a name
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"{path}: material file cannot be read ({reason}); put it there, or remove the OBJ's mtllib line"
        ) from error
    materials: dict[str, Material] = {}
    current = Material()
    for line in text.replace("\\\n", " ").split("\n"):
        key, *arguments = line.split(maxsplit=1)[:2] or [""]
        value = arguments[0].strip() if arguments else ""
        if key == "newmtl":
            current = materials.setdefault(" ".join(value.split()), Material())
        elif key.lower() == "kd":
            current.color = _color(COMMENT.sub("", value), path)
        elif key.lower() == "map_kd":
            _read_map(current, value, path)
    return materials


def _color(value: str, path: Path) -> tuple[float, ...]:
    words = value.split()
    if len(words) not in (1, 3) or not all(_is_number(word) for word in words):
        raise InputError(f"{path}: 'Kd {value}' is no colour; write three numbers from 0 to 1")
    if not all(-0.001 <= float(word) <= 1.001 for word in words):
        warnings.warn(f"{path}: 'Kd {value}' is cut off: colours are numbers from 0 to 1", stacklevel=4)
    red, green, blue = words if len(words) == 3 else words * 3  # "Kd r" alone is grey, by the format
    return float(red), float(green), float(blue)


def _read_map(material: Material, value: str, path: Path) -> None:
    """Take over a `map_Kd`: options, and then the rest of the line as the name of a file, which may have spaces."""
    tail = value
    while tail.startswith("-") and tail.split()[0] in OPTIONS:
        option, *words = tail.split()
        tail = tail[len(option) :].lstrip()
        arguments: list[str] = []
        while len(arguments) < OPTIONS[option] and len(words) > 1 and _is_argument(option, words[0]):
            arguments.append(words.pop(0))
            tail = tail[len(arguments[-1]) :].lstrip()
        _apply_option(material, option, arguments, f"{path}: 'map_Kd {value}'")
    if re.match(r"-[a-z]+\s", tail):
        raise InputError(f"{path}: 'map_Kd {value}': the option {tail.split()[0]} is unknown; remove it")
    if not _is_there(tail, path):
        tail = COMMENT.sub("", tail)
    tail = unquoted(tail)
    if not tail:
        warnings.warn(f"{path}: 'map_Kd {value}' names no image: it is left out", stacklevel=5)
        return
    material.image = named_file(tail, path, (".", "tex"))


def _is_there(name: str, path: Path) -> bool:
    try:
        return os.path.isfile(named_file(name, path, (".", "tex")))
    except InputError:  # it leads elsewhere
        return False


def _is_argument(option: str, word: str) -> bool:
    if option in ("-blendu", "-blendv", "-cc", "-clamp"):
        return word in ("on", "off")
    return option in ("-imfchan", "-type") or _is_number(word)


def _apply_option(material: Material, option: str, arguments: list[str], location: str) -> None:
    """Apply an option of `map_Kd`, or raise InputError; `location` begins the message."""
    if option in ("-s", "-o"):
        default = 1.0 if option == "-s" else 0.0
        u, v = ([float(word) for word in arguments] + [default, default])[:2]
        if option == "-s":
            material.scale = (u, v)
        else:
            material.offset = (u, v)
    elif option == "-clamp":
        material.clamped = arguments == ["on"]
    elif option not in HARMLESS and not _is_neutral(option, arguments):
        raise InputError(f"{location}: the option {option} cannot be applied; bake it into the image, or remove it")


def _is_neutral(option: str, arguments: list[str]) -> bool:
    """Whether an option has the values at which it changes nothing."""
    values = [float(word) for word in arguments if _is_number(word)]
    if option == "-t":
        return not any(values)
    if option == "-mm":
        return values == [0.0, 1.0]
    return option == "-imfchan" and arguments == ["m"]


def _is_number(word: str) -> bool:
    try:
        return math.isfinite(float(word))
    except ValueError:
        return False


def obj_texture(mesh: ObjMesh, path: Path, max_size: int | None = None) -> Texture | None:
    """Texture of an OBJ file that was read from `path`, or None if it has neither materials nor colours of vertices.

    A face whose material has an image takes it through its texture coordinates; any other face has the colours of its
    vertices if the file has some, or else the plain colour of its material (`DEFAULT_COLOUR` without one). Images that several
    materials share are stored once.

    Raises:
        InputError: a missing material file, material or image.
    """
    has_materials = bool(mesh.libraries and mesh.materials)
    if len(mesh.faces) == 0 or not (has_materials or mesh.colors is not None):
        return None
    material_ids = mesh.material_ids if has_materials else np.full(len(mesh.faces), -1)
    has_uv = (mesh.uv_faces >= 0).all(axis=1)
    uv = np.zeros((len(mesh.faces), 3, 2))
    uv[has_uv] = mesh.uvs[mesh.uv_faces[has_uv]]
    images: list[Tensor] = []
    index: dict[Path | tuple[float, ...], int] = {}
    image_ids = np.full(len(mesh.faces), -1)
    for number, material in _materials(mesh, path, np.unique(material_ids).tolist()):
        of_material = material_ids == number
        with_image = of_material & has_uv & (material.image is not None)
        uv[with_image] = uv[with_image] * material.scale + material.offset
        if material.clamped and ((uv[with_image] < 0) | (uv[with_image] > 1)).any():
            warnings.warn(f"{path}: {material.image} is repeated where it should be clamped (-clamp on)", stacklevel=2)
        for faces, source in ((with_image, material.image), (of_material & ~with_image, material.color)):
            if source is None or not faces.any() or (source == material.color and mesh.colors is not None):
                continue
            if source not in index:
                index[source] = len(images)
                images.append(read_image(source, max_size) if isinstance(source, Path) else plain_image(source))
            image_ids[faces] = index[source]
    colours = None if mesh.colors is None else (255 * mesh.colors[mesh.faces]).round().astype(np.uint8)
    return complete_texture(uv, images, image_ids, colours)


def check_materials(mesh: ObjMesh, path: Path) -> None:
    """Warn of material files and materials that are missing or malformed, where colours are not needed."""
    try:
        if mesh.libraries and mesh.materials:
            _materials(mesh, path, np.unique(mesh.material_ids).tolist())
    except InputError as error:
        warnings.warn(f"{path}: its colours are not looked at, and could not be: {error}", stacklevel=3)


def _materials(mesh: ObjMesh, path: Path, numbers: list[int]) -> list[tuple[int, Material]]:
    """The material of each of `numbers`; -1 has none. A missing file is an error only if a material is missing too."""
    materials: dict[str, Material] = {}
    missing_files: list[str] = []
    if numbers != [-1]:
        for file in (named_file(name, path) for library in mesh.libraries for name in _library_names(library, path)):
            try:
                materials.update(read_mtl(file))
            except InputError as error:
                if os.path.isfile(file):
                    raise
                missing_files.append(str(error))
    for name in list(materials):
        materials.setdefault(COMMENT.sub("", name), materials[name])
    names = [name if name in materials else COMMENT.sub("", name) for name in mesh.materials]
    missing = [mesh.materials[i] for i in numbers if i >= 0 and names[i] not in materials]
    if missing and missing_files:
        raise InputError(missing_files[0])
    if missing:
        raise InputError(f"{path}: material {missing[0]!r} is in none of {', '.join(mesh.libraries)}; add it there")
    for message in missing_files:
        warnings.warn(f"{path}: {message} (none of its materials is used)", stacklevel=3)
    return [(number, materials[names[number]] if number >= 0 else Material()) for number in numbers]


def _library_names(library: str, path: Path) -> list[str]:
    """One `mtllib` line may name several files, or one file with spaces in its name; a comment may follow."""
    library = library.strip('"')
    if os.path.isfile(path.parent / library):
        return [library]
    words = library.split()
    if all(os.path.isfile(path.parent / word) for word in words):
        return words
    return re.findall(r"\S.*?\.mtl(?=\s|$)", library, re.IGNORECASE) or [library]
