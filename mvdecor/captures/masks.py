"""Masks in the encodings of COCO: run lengths, their compressed text, polygons."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mvdecor.errors import InputError

FINE = 4  # polygons are filled at so many times the resolution; half of a pixel must be covered


def decode_mask(segmentation: Any, height: int, width: int, source: str) -> NDArray[np.bool_]:
    """bool [height, width] of COCO's `segmentation`.

    Args:
        segmentation: a list of polygons [x0, y0, x1, y1, ...]; {"size": [height, width], "counts": run lengths or their
            compressed text}; or that text alone, as StanfordExtra has it.
        height, width: of the image.
        source: for messages.

    Raises:
        InputError: it is none of these, or does not fit the image.
    """
    if isinstance(segmentation, list):
        return _filled(segmentation, height, width, source)
    if isinstance(segmentation, dict):
        size = segmentation.get("size")
        if size != [height, width]:
            raise InputError(f"{source}: the mask's size {size} is not the image's, [{height}, {width}]")
        segmentation = segmentation.get("counts")
    if isinstance(segmentation, str):
        segmentation = _run_lengths(segmentation, source)
    if not isinstance(segmentation, list) or not all(isinstance(run, int) and run >= 0 for run in segmentation):
        raise InputError(f"{source}: the mask is neither polygons nor run lengths")
    if sum(segmentation) != height * width:
        raise InputError(
            f"{source}: the mask's runs cover {sum(segmentation)} pixels, the image has {height * width}: is its size right?"
        )
    values = np.arange(len(segmentation)) % 2 == 1  # zeros first
    return np.repeat(values, segmentation).reshape(width, height).T.copy()  # column by column


def _run_lengths(text: str, source: str) -> list[int]:
    """The numbers of COCO's compressed text: five bits per character, the differences to the number two before."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64:
            raise InputError(f"{source}: {character!r} does not occur in a compressed mask")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        if code & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value, shift = 0, 0
    if shift:
        raise InputError(f"{source}: the compressed mask breaks off")
    return runs


def _filled(polygons: list, height: int, width: int, source: str) -> NDArray[np.bool_]:
    picture = Image.new("L", (FINE * width, FINE * height))
    for polygon in polygons:
        coordinates = np.asarray(polygon, dtype=np.float64) if isinstance(polygon, list) else np.zeros(0)
        if coordinates.ndim != 1 or len(coordinates) < 6 or len(coordinates) % 2 or not np.isfinite(coordinates).all():
            raise InputError(f"{source}: a polygon of the mask is not a list of at least three finite points x, y")
        ImageDraw.Draw(picture).polygon((FINE * coordinates - 0.5).tolist(), fill=1)
    return np.asarray(picture).reshape(height, FINE, width, FINE).mean(axis=(1, 3)) >= 0.5
