"""Pictures, masks and label maps on disk."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mvdecor.captures.annotations import read_annotation
from mvdecor.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
_COLOUR = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")  # Pillow's modes of 8 bits


def image_files(folder: Path) -> list[Path]:
    """The pictures that lie directly in a folder, by name.

    Raises:
        InputError: there is no such folder, or no picture in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; put the images there")
    files = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
    if not files:
        raise InputError(f"{folder}: holds no image ({', '.join(SUFFIXES)}); put the images there")
    return files


def image_header(path: Path) -> tuple[int, int, bool]:
    """Height, width, and whether there is an alpha channel, without decoding the picture."""
    with _opened(path) as image:
        return image.height, image.width, image.has_transparency_data


def read_image(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """uint8 [H, W, 3], what is transparent over white; and its alpha uint8 [H, W], None if it has none.

    Pixels are in the order of the file; a tag that turns a photograph is not obeyed (nor is it by those who estimate poses).

    Raises:
        InputError: the file is missing or damaged, or has more than 8 bits per channel.
    """
    with _opened(path) as image:
        if not image.has_transparency_data:
            return np.array(_decoded(image, "RGB", path)), None
        rgba = np.array(_decoded(image, "RGBA", path)).astype(np.uint16)
    alpha = rgba[..., 3:]
    over_white = (rgba[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return over_white.astype(np.uint8), alpha[..., 0].astype(np.uint8)


def read_mask(path: Path) -> NDArray[np.uint8]:
    """uint8 [H, W] of a grey picture (255 = the object), or of the alpha channel of one that has it."""
    with _opened(path) as image:
        if image.has_transparency_data:
            return np.array(_decoded(image, "RGBA", path))[..., 3]
        return np.array(_decoded(image, "L", path))


def read_label_map(path: Path, label_names: Sequence[str]) -> NDArray[np.int16]:
    """A label map: an array (.npy), a grey or palette picture (its values are the labels), a folder of masks,
    or an annotation of LERF-OVS (.json).

    In a folder, `NAME.png` holds the pixels of label NAME (255); pixels of no mask or of several are undetermined. In files,
    255 is undetermined in pictures, and -1 in arrays.

    Returns:
        int16 [H, W] in [-1, len(label_names)).

    Raises:
        InputError: a missing or damaged file, a label without a name, a mask of no label or a label without a mask.
    """
    if path.is_dir():
        return _from_masks(path, label_names)
    if path.suffix.lower() == ".json":
        return read_annotation(path, label_names)
    if path.suffix.lower() == ".npy":
        labels = _array(path)
    else:
        with _opened(path) as image:
            if image.mode not in ("L", "P"):
                raise InputError(f"{path}: a label map must be a grey or palette image, this is {image.mode}")
            labels = np.array(_decoded(image, image.mode, path)).astype(np.int64)
            labels[labels == 255] = -1
    unknown = np.unique(labels[(labels < -1) | (labels >= len(label_names))])
    if len(unknown):
        raise InputError(
            f"{path}: holds the labels {unknown[:5].tolist()}, but only 0 to {len(label_names) - 1} have names "
            f"({', '.join(label_names[:5])}{', ...' if len(label_names) > 5 else ''}): name them, or set them to -1"
        )
    return labels.astype(np.int16)


def load_array(path: Path, remedy: str) -> NDArray:
    """The array of a `.npy` file.

    Raises:
        InputError: it is missing or damaged; the message ends with the remedy.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # a header's size alone allocates nothing
    except Exception as error:  # a damaged header makes numpy raise whatever its parsing stumbles over
        raise InputError(f"{path}: cannot be read as an array ({error}); {remedy}") from error
    if not isinstance(array, np.ndarray):
        raise InputError(f"{path}: is an archive of arrays; {remedy}")
    return np.array(array)


def reduce_colours(picture: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """[H, W, ...] with each `factor` x `factor` block averaged into a pixel."""
    blocks = _blocks(picture, factor).astype(np.float32)
    return (blocks.mean(axis=(1, 3)) + 0.5).astype(np.uint8)


def reduce_labels(labels: NDArray[np.int16], factor: int) -> NDArray[np.int16]:
    """[H, W] with the most frequent label of each `factor` x `factor` block; of equally frequent ones the lowest."""
    values = np.unique(labels)
    counts = [(_blocks(labels, factor) == value).sum(axis=(1, 3)) for value in values]
    return values[np.argmax(counts, axis=0)]


def reduce_depth(depth: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """[H, W] with the mean of each `factor` x `factor` block over the pixels that see the object (depth above 0)."""
    blocks = _blocks(depth, factor)
    count = (blocks > 0).sum(axis=(1, 3))
    return (blocks.sum(axis=(1, 3)) / np.maximum(count, 1)).astype(np.float32)


def _blocks(values: NDArray, factor: int) -> NDArray:
    height, width = values.shape[:2]
    return values.reshape(height // factor, factor, width // factor, factor, *values.shape[2:])


def _array(path: Path) -> NDArray[np.int64]:
    labels = load_array(path, "write it again with numpy.save")
    if labels.ndim == 3 and 1 in (labels.shape[0], labels.shape[-1]):
        labels = labels.squeeze(0 if labels.shape[0] == 1 else -1)
    is_integer = labels.dtype.kind in "iub" or (labels.dtype.kind == "f" and bool((labels == np.round(labels)).all()))
    if labels.ndim != 2 or not is_integer:
        raise InputError(
            f"{path}: holds {labels.dtype} {list(labels.shape)}; a label map is an array of integers [H, W]"
        )
    return labels.astype(np.int64)


def _from_masks(folder: Path, label_names: Sequence[str]) -> NDArray[np.int16]:
    files = {path.stem: path for path in image_files(folder)}
    if set(files) != set(label_names):
        unmatched = sorted(set(files) ^ set(label_names))[0]
        fault = "is the mask of no label" if unmatched in files else "has no mask here"
        raise InputError(
            f"{folder}: {unmatched!r} {fault}: there must be one image for each of {', '.join(label_names)}"
        )
    masks = {name: read_mask(files[name]) == 255 for name in label_names}
    if len({mask.shape for mask in masks.values()}) > 1:
        raise InputError(f"{folder}: its masks have different sizes; make them those of the image")
    labels = np.stack(list(masks.values()))
    return np.where(labels.sum(axis=0) == 1, labels.argmax(axis=0), -1).astype(np.int16)


def _opened(path: Path) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such image; put it there, or take it out of the list of cameras") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        fault = f"({error})" if not path.is_file() or path.stat().st_size else "(the file is empty)"
        raise InputError(f"{path}: cannot be read as an image {fault}; export or copy it again") from error
    if image.mode not in _COLOUR:
        raise InputError(f"{path}: has pixels of mode {image.mode}; save it with 8 bits per channel")
    return image


def _decoded(image: Image.Image, mode: str, path: Path) -> Image.Image:
    try:
        return image.convert(mode) if image.mode != mode else image.copy()
    except (OSError, ValueError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); export it again") from error
