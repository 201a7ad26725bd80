"""Colours of glTF files: base colour image × base colour factor × colours of vertices, as a `Texture`."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.shapes.gltf_file import GltfFile, JsonObject, normalized
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import CLAMP, MIRROR, REPEAT, Texture
from mvdecor.shapes.texture import corner_image, image_tensor, plain_image

WRAPS = {10497: REPEAT, 33648: MIRROR, 33071: CLAMP}
NEAREST = 9728
SPECULAR_GLOSSINESS = "KHR_materials_pbrSpecularGlossiness"
IMAGE_EXTENSIONS = ("EXT_texture_webp", "EXT_texture_avif", "MSFT_texture_dds")  # of images that Pillow decodes
BASISU = "KHR_texture_basisu"
WHITE = (1.0, 1.0, 1.0)
LONGEST_PATCH, PATCH_TEXELS, CHUNK = 64, 1 << 22, 1 << 18  # texels: of a face's side, of a primitive, at a time
STEP = 16
"""Levels of sRGB over which colours that are linear in light are taken as linear in sRGB."""

Sampler = tuple[int, int, int]  # wrap of u, wrap of v (REPEAT, MIRROR, CLAMP), 1 for the nearest texel
Values = Callable[[str], NDArray[Any] | None]  # values [V, components] of an attribute of a primitive, by its name


def srgb(linear: NDArray[np.float64]) -> NDArray[np.uint8]:
    """uint8 sRGB (IEC 61966-2-1) of linear components; what is outside of [0, 1] is cut off."""
    value = linear.clip(0, 1)
    curve = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return (255 * curve).round().astype(np.uint8)


def linear(colours: NDArray[Any]) -> NDArray[np.float64]:
    """Linear components of sRGB ones in [0, 1]."""
    return np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)


class Colours:
    """The images that the primitives of a file need, collected while they are read.

    Args:
        file: the file.
        texture_size: images with a longer side are reduced to it; None: as they are.
    """

    def __init__(self, file: GltfFile, texture_size: int | None) -> None:
        self._file, self._texture_size = file, texture_size
        self._decoded: dict[int, Tensor] = {}
        self._numbers: dict[object, int] = {}
        self._images: list[Tensor] = []
        self._samplers: list[Sampler] = []
        self._any = False

    def texture(self, uv: list[NDArray[np.float64]], image_ids: list[NDArray[np.int64]]) -> Texture | None:
        """The texture of all primitives, by what `surface` gave for each; None if no colour is stated anywhere."""
        if not self._any:
            return None
        default_sampling = all(sampler == (REPEAT, REPEAT, 0) for sampler in self._samplers)
        return Texture(
            torch.from_numpy(np.concatenate(uv)).float(),
            tuple(self._images),
            torch.from_numpy(np.concatenate(image_ids)),
            None if default_sampling else torch.tensor(self._samplers),
        )

    def surface(
        self, primitive: JsonObject, values: Values, faces: NDArray[np.int64], subject: str
    ) -> tuple[NDArray[np.float64], int]:
        """Where the faces of a primitive lie in which image.

        Args:
            primitive: of the JSON.
            values: its attributes.
            faces: [F, 3], F > 0, indices of vertices.
            subject: the primitive, for messages.

        Returns:
            float64 [F, 3, 2] texture coordinates as in `Texture`, and the number of the image.

        Raises:
            InputError: an image that is missing or cannot be decoded, a material that is not there.
        """
        factor, texture_info = self._base_colour(primitive)
        tints = values("COLOR_0")
        if tints is not None:
            self._any = True
            self._check_finite(tints, f"{subject}: its COLOR_0")
            tints = normalized(tints)[:, :3].clip(0, 1)[faces] * factor
            if (tints == tints[:1, :1]).all():
                factor, tints = tuple(tints[0, 0].tolist()), None
        uv = None if texture_info is None else self._coordinates(texture_info, values, faces, subject)
        if texture_info is None or uv is None:
            return self._plain(factor, len(faces)) if tints is None else self._add_new(*coloured_faces(tints))
        number, sampler = self._image_of(texture_info)
        if tints is None:
            return uv, self._tinted(number, sampler, factor)
        return self._add_new(*tinted_faces(self._decode(number), sampler, uv, tints))

    def _base_colour(self, primitive: JsonObject) -> tuple[tuple[float, ...], JsonObject | None]:
        """Linear colour factor and texture of a primitive's material."""
        if "material" not in primitive:
            return WHITE, None
        material = self._file.item("materials", primitive["material"])
        specular = material.get("extensions", {}).get(SPECULAR_GLOSSINESS)
        base = material.get("pbrMetallicRoughness", {}) if specular is None else specular
        names = ("baseColorFactor", "baseColorTexture") if specular is None else ("diffuseFactor", "diffuseTexture")
        self._any |= any(name in base for name in names)
        factor = tuple(float(value) for value in base.get(names[0], WHITE)[:3])
        subject = f"materials[{primitive['material']}]: its colour"
        if len(factor) != 3:
            raise InputError(f"{self._file.path}: {subject} has {len(factor)} numbers; export it again")
        self._check_finite(np.array(factor), subject)
        return factor, base.get(names[1])

    def _coordinates(
        self, texture_info: JsonObject, values: Values, faces: NDArray[np.int64], subject: str
    ) -> NDArray[np.float64] | None:
        """Texture coordinates [F, 3, 2] with row 0 at the bottom, moved by KHR_texture_transform."""
        transform = texture_info.get("extensions", {}).get("KHR_texture_transform", {})
        name = f"TEXCOORD_{transform.get('texCoord', texture_info.get('texCoord', 0))}"
        uv = values(name)
        if uv is None:
            warnings.warn(
                f"{self._file.path}: {subject} has no {name}, which its image needs: it gets the colour of its material",
                stacklevel=2,
            )
            return None
        rotation = transform.get("rotation", 0)
        scale, offset = transform.get("scale", (1, 1)), transform.get("offset", (0, 0))
        self._check_finite(uv[faces], f"{subject}: its {name}")
        self._check_finite(np.array([rotation, *scale, *offset]), f"{subject}: its KHR_texture_transform")
        cos, sin = math.cos(rotation), math.sin(rotation)
        with np.errstate(invalid="ignore"):  # of vertices that no face uses
            u, v = (uv.astype(np.float64) * scale).T
            transformed = np.stack([cos * u + sin * v, cos * v - sin * u], axis=1) + offset
        transformed[:, 1] = 1 - transformed[:, 1]
        return transformed[faces]

    def _check_finite(self, values: NDArray[Any], subject: str) -> None:
        if not np.isfinite(values).all():
            raise InputError(f"{self._file.path}: {subject} has numbers that are NaN or infinite; export it again")

    def _image_of(self, texture_info: JsonObject) -> tuple[int, Sampler]:
        """Number of a texture's image, and how it is sampled."""
        texture = self._file.item("textures", texture_info["index"])
        sampler = self._file.item("samplers", texture["sampler"]) if "sampler" in texture else {}
        for key in ("wrapS", "wrapT"):
            if sampler.get(key, 10497) not in WRAPS:
                raise InputError(
                    f"{self._file.path}: textures[{texture_info['index']}] has the unknown {key} {sampler[key]!r}"
                )
        wrap_u, wrap_v = (WRAPS[sampler.get(key, 10497)] for key in ("wrapS", "wrapT"))
        extensions = texture.get("extensions", {})
        sources = [extensions[name]["source"] for name in IMAGE_EXTENSIONS if name in extensions]
        sources += [texture["source"]] if "source" in texture else []
        if not sources and BASISU in extensions:
            image = self._image_name(extensions[BASISU]["source"])
            raise InputError(f"{self._file.path}: {image} needs {BASISU}, which is not read; convert its images to PNG")
        if not sources:
            names = ", ".join(extensions) or "nothing"
            raise InputError(
                f"{self._file.path}: textures[{texture_info['index']}] has no image that is read ({names}); add one"
            )
        return sources[0], (wrap_u, wrap_v, int(sampler.get("magFilter") == NEAREST))

    def _image_name(self, number: int) -> str:
        image = self._file.item("images", number)
        uri = image.get("uri", "")
        name = image.get("name") or ("" if uri.startswith("data:") else uri)
        return f"images[{number}]" + (f" ({name!r})" if name else "")

    def _decode(self, number: int) -> Tensor:
        """uint8 [H, W, 3] of an image of the file."""
        if number not in self._decoded:
            image, image_name = self._file.item("images", number), self._image_name(number)
            stored = "uri" not in image
            if stored:
                encoded = self._file.view(image["bufferView"]).tobytes()
            else:
                encoded = self._file.resource(image["uri"], image_name)
            try:
                with Image.open(io.BytesIO(encoded)) as picture:
                    self._decoded[number] = image_tensor(picture, self._texture_size)
            except Exception as error:  # Pillow's decoders raise errors of many kinds
                kind = f" of type {image['mimeType']}" if "mimeType" in image else ""
                unknown = isinstance(error, UnidentifiedImageError)  # whose own words name an object in memory
                reason = "no image, or of an unknown format" if unknown else " ".join(str(error).split())
                raise InputError(
                    f"{self._file.path}: its image {image_name}{kind} cannot be decoded ({reason}); replace it by a PNG or JPEG"
                ) from error
        return self._decoded[number]

    def _add(self, key: object, image: Callable[[], Tensor], sampler: Sampler = (REPEAT, REPEAT, 0)) -> int:
        if key not in self._numbers:
            self._images.append(image())
            self._samplers.append(sampler)
            self._numbers[key] = len(self._images) - 1
        return self._numbers[key]

    def _add_new(self, image: Tensor, uv: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
        return uv, self._add(object(), lambda: image)

    def _plain(self, factor: tuple[float, ...], count: int) -> tuple[NDArray[np.float64], int]:
        colour = tuple((srgb(np.array(factor)) / 255).tolist())
        return np.zeros((count, 3, 2)), self._add(colour, lambda: plain_image(colour))

    def _tinted(self, number: int, sampler: Sampler, factor: tuple[float, ...]) -> int:
        """An image of the file times a linear colour."""

        def image() -> Tensor:
            pixels = self._decode(number)
            if factor == WHITE:
                return pixels
            table = srgb(linear(np.arange(256) / 255)[:, None] * factor)  # [256, 3]
            return torch.from_numpy(np.stack([table[pixels[..., i].numpy(), i] for i in range(3)], axis=-1))

        return self._add((number, sampler, factor), image, sampler)


def coloured_faces(tints: NDArray[np.float64]) -> tuple[Tensor, NDArray[np.float64]]:
    """An image and texture coordinates [F, 3, 2] of linear colours of corners [F, 3, 3], see `tinted_faces`."""
    if _patch_side(0, tints) == 2:
        return corner_image(srgb(tints))
    white = torch.full((1, 1, 3), 255, dtype=torch.uint8)
    return tinted_faces(white, (REPEAT, REPEAT, 0), np.zeros((len(tints), 3, 2)), tints)


def _patch_side(extent: float, tints: NDArray[np.float64]) -> int:
    """Texels along a side of each face's patch, for faces that span up to `extent` texels of their image."""
    spread = int(np.ptp(srgb(tints).astype(np.int64), axis=1).max())  # levels between the corners of one face, at most
    steps = max(2 * math.ceil(min(extent, LONGEST_PATCH)), math.ceil(spread / STEP))
    return max(2, min(LONGEST_PATCH, steps + 1, math.isqrt(PATCH_TEXELS // len(tints))))


def tinted_faces(
    image: Tensor, sampler: Sampler, uv: NDArray[np.float64], tints: NDArray[np.float64]
) -> tuple[Tensor, NDArray[np.float64]]:
    """An image of one square patch per face: the given image times colours that vary over each face.

    A patch has two texels per texel of the image along the longest side of all faces, and one per `STEP` levels of the
    colours, but no more than `LONGEST_PATCH` along a side and about `PATCH_TEXELS` in all: beyond, it is coarser.

    Args:
        image: uint8 [H, W, 3].
        sampler: how it is sampled.
        uv: [F, 3, 2], as in `Texture`.
        tints: [F, 3, 3], linear RGB of each corner.

    Returns:
        uint8 [S, S, 3], and texture coordinates [F, 3, 2] in it.
    """
    count, size = len(uv), np.array([image.shape[1], image.shape[0]])
    side = _patch_side(float((np.ptp(uv, axis=1) * size).max()), tints)
    columns = math.ceil(math.sqrt(count))
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    weights = np.stack([side - 1 - x - y, x, y], axis=-1).reshape(-1, 3) / (side - 1)
    source = Texture(torch.empty(0, 3, 2), (image,), torch.empty(0), torch.tensor([sampler]))
    patches = np.zeros((columns * columns, side * side, 3), dtype=np.uint8)
    step = max(1, CHUNK // side**2)
    for start in range(0, count, step):
        part = slice(start, min(count, start + step))
        places = torch.from_numpy(weights @ uv[part]).float()
        colours = sample_texture(source, torch.zeros(places.shape[:2], dtype=torch.int64), places).double().numpy()
        patches[part] = srgb(linear(colours) * (weights @ tints[part]).clip(0, 1))
    tiles = patches.reshape(columns, columns, side, side, 3).swapaxes(1, 2)
    baked = np.ascontiguousarray(tiles.reshape(columns * side, columns * side, 3))
    face = np.arange(count)
    corner = side * np.stack([face % columns, face // columns], axis=1)[:, None] + (side - 1) * np.array(
        [[0, 0], [1, 0], [0, 1]]
    )
    places = (corner + 0.5) / (columns * side)
    places[..., 1] = 1 - places[..., 1]
    return torch.from_numpy(baked), places
