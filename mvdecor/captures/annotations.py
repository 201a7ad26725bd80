"""LERF-OVS's annotations (of LangSplat, Qin et al. 2024): polygons of some views' objects, each with its words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mvdecor.errors import InputError
from mvdecor.files import read_json

REMEDY = "copy it again from LERF-OVS"


def annotation_files(folder: Path, images: Iterable[str]) -> dict[str, Path]:
    """The annotation of each image that has one, by the image's name.

    Args:
        folder: with `NAME.json` for the image NAME.jpg; other files are left alone.
        images: names of the images.

    Raises:
        InputError: no such folder, no annotation in it, or one of no image.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of annotations; correct capture.annotations")
    by_stem = {Path(name).stem: name for name in images}
    files = sorted(folder.glob("*.json"))
    if not files:
        raise InputError(f"{folder}: holds no annotation (NAME.json); correct capture.annotations")
    if strangers := [file for file in files if file.stem not in by_stem]:
        raise InputError(f"{strangers[0]}: there is no image {strangers[0].stem}; remove it, or add the image")
    return {by_stem[file.stem]: file for file in files}


def annotated_names(files: Iterable[Path]) -> tuple[str, ...]:
    """The words of all objects of some annotations, each once, in alphabetical order."""
    return tuple(sorted({words for file in files for words, _ in _objects(_content(file), file)}))


def read_annotation(file: Path, label_names: Sequence[str]) -> NDArray[np.int16]:
    """int16 [H, W], label of each pixel; -1 where no object is, or objects of several names are.

    Raises:
        InputError: a damaged file, or an object that has none of the names.
    """
    content = _content(file)
    try:
        height, width = int(content["info"]["height"]), int(content["info"]["width"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: says no height and width of its image; {REMEDY}") from error
    if not (0 < height <= 2**15 and 0 < width <= 2**15):
        raise InputError(f"{file}: is of an image of {width}x{height} pixels; {REMEDY}")
    masks = np.zeros((len(label_names), height, width), dtype=bool)
    for words, polygon in _objects(content, file):
        if words not in label_names:
            raise InputError(f"{file}: {words!r} is none of the labels {', '.join(label_names)}")
        picture = Image.new("1", (width, height))
        ImageDraw.Draw(picture).polygon([tuple(point) for point in polygon], fill=1)
        masks[label_names.index(words)] |= np.asarray(picture)
    return np.where(masks.sum(axis=0) == 1, masks.argmax(axis=0), -1).astype(np.int16)


def _content(file: Path) -> Any:
    return read_json(file, REMEDY)


def _objects(content: Any, file: Path) -> list[tuple[str, list[tuple[float, float]]]]:
    """Words and polygon (x, y in pixels) of each object."""
    try:
        objects = [
            (" ".join(str(each["category"]).split()), [(float(x), float(y)) for x, y in each["segmentation"]])
            for each in content["objects"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file}: no annotation of LERF-OVS ({type(error).__name__}: {error}); {REMEDY}") from error
    for words, polygon in objects:
        if not words or len(polygon) < 3 or not np.isfinite(polygon).all() or np.abs(polygon).max() > 1e6:
            raise InputError(f"{file}: an object {words!r} with a polygon of {len(polygon)} points; {REMEDY}")
    return objects
