"""What words find in pictures: masks, label maps and heat maps as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from mvdecor.figures.layout import save_png
from mvdecor.figures.palette import colours_of, label_palette
from mvdecor.files import write_atomically

HEAT = np.array([[20, 20, 60], [120, 30, 110], [220, 80, 50], [250, 190, 40], [255, 255, 200]], dtype=np.float64)
"""Colours from 0 to 1."""


def write_word_maps(folder: Path, views: Sequence[int], images: Tensor, scores: Tensor, words: Sequence[str]) -> None:
    """Write what is found in some views, masks in the layout of the data set 3D-OVS.

    - `labels/VIEW.png`: the word of each pixel by its colour;
    - `segmentations/classes.txt` and `segmentations/VIEW/WORD.png`: 255 where the word is found, else 0;
    - `heat/VIEW/WORD.png`: the picture under the heat of the word's score.

    Args:
        folder: made if it is not there.
        views: numbers of the n views.
        images: uint8 [n, H, W, 3].
        scores: float32 [n, C, H, W] in [0, 1].
        words: of the C classes.
    """
    palette, labels = label_palette(len(words)), scores.argmax(dim=1).numpy()
    write_atomically(folder / "segmentations" / "classes.txt", "".join(f"{word}\n" for word in words).encode())
    for i, view in enumerate(views):
        save_png(folder / "labels" / f"{view}.png", colours_of(labels[i], palette))
        for c, name in enumerate(file_names(words)):
            mask = (labels[i] == c).astype(np.uint8) * 255
            write_atomically(folder / "segmentations" / str(view) / f"{name}.png", _grey_png(mask))
            save_png(folder / "heat" / str(view) / f"{name}.png", heat_picture(images[i].numpy(), scores[i, c].numpy()))


def file_names(words: Sequence[str]) -> list[str]:
    """Names of files of words, all different: what no file system takes is a dash."""
    names: list[str] = []
    for word in words:
        name = re.sub(r'[\x00-\x1f/\\:*?"<>|]+', "-", word).strip(". ") or "-"
        names.append(f"{name} {len(names)}" if name.casefold() in (earlier.casefold() for earlier in names) else name)
    return names


def heat_picture(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3]: a picture in grey under the colours of values float [H, W] in [0, 1], dark where they are 0."""
    grey = image.mean(axis=-1, keepdims=True)
    return (0.7 * heat_colours(values) + 0.3 * grey).round().astype(np.uint8)


def heat_colours(values: np.ndarray) -> np.ndarray:
    """uint8 [..., 3]: colours of values float [...] in [0, 1], dark where they are 0."""
    places, steps = values.clip(0, 1) * (len(HEAT) - 1), np.arange(len(HEAT))
    colours = np.stack([np.interp(places, steps, HEAT[:, channel]) for channel in range(3)], axis=-1)
    return colours.round().astype(np.uint8)


def _grey_png(values: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(values).save(buffer, format="PNG")
    return buffer.getvalue()
