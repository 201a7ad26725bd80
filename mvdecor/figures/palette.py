"""Colours of labels, the same in every picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mvdecor.errors import InputError

BACKGROUND = -2
"""Label of a pixel that sees no surface, where a picture must tell it from an undetermined one (-1)."""

WHITE = (255, 255, 255)  # background
LIGHT_GREY = (205, 205, 205)  # undetermined

# The first colours are chosen by eye; the rest follow by `_farthest`.
_FIRST = [
    (38, 114, 196),
    (240, 136, 24),
    (44, 160, 80),
    (206, 54, 60),
    (136, 86, 190),
    (20, 180, 196),
    (236, 118, 186),
    (140, 92, 48),
    (190, 196, 40),
    (24, 66, 110),
]


def label_palette(n: int) -> np.ndarray:
    """Distinct colours for labels 0 to n - 1.

    The colour of a label does not depend on `n`, so pictures of different label sets can be compared by eye. None is
    near white (background), light grey (undetermined) or black.

    Returns:
        uint8 [n, 3], RGB.

    Raises:
        InputError: if `n` is negative or more than colours can be told apart by the computer (256).
    """
    if not 0 <= n <= 256:
        raise InputError(f"a palette of {n} colours was asked for; 0 to 256 can be told apart")
    return _all_colours()[:n].copy()


def colours_of(labels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The colour of each label.

    Args:
        labels: int [...]; 0 and up are rows of `palette`, -1 is undetermined (light grey), less is background (white).
        palette: uint8 [n, 3].

    Returns:
        uint8 [..., 3].

    Raises:
        InputError: if a label has no colour in the palette.
    """
    if labels.size and labels.max() >= len(palette):
        raise InputError(f"label {int(labels.max())} cannot be shown with a palette of {len(palette)} colours")
    table = np.concatenate([np.array([WHITE, LIGHT_GREY], np.uint8), palette.astype(np.uint8)])
    return table[np.clip(labels, BACKGROUND, None).astype(np.int64) - BACKGROUND]


@lru_cache(maxsize=1)
def _all_colours() -> np.ndarray:
    """uint8 [256, 3]: `_FIRST`, then repeatedly the candidate farthest from every colour so far."""
    steps = np.linspace(0, 255, 16).round()
    grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _lab(grid)
    vivid = (lab[:, 0] > 25) & (lab[:, 0] < 88) & (np.hypot(lab[:, 1], lab[:, 2]) > 18)
    grid, lab = grid[vivid], lab[vivid]
    colours = [np.array(colour, dtype=np.float64) for colour in _FIRST]
    reserved = _lab(np.array([*colours, WHITE, LIGHT_GREY, (0, 0, 0)], dtype=np.float64))
    nearest = np.linalg.norm(lab[:, None] - reserved[None], axis=-1).min(axis=1)
    while len(colours) < 256:
        best = int(nearest.argmax())
        colours.append(grid[best])
        nearest = np.minimum(nearest, np.linalg.norm(lab - lab[best], axis=-1))
    return np.array(colours).round().astype(np.uint8)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB [n, 3] of sRGB [n, 3] in 0..255 (white point D65); distances in it are about as the eye sees them."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * root[:, 1] - 16, 500 * (root[:, 0] - root[:, 1]), 200 * (root[:, 1] - root[:, 2])], axis=-1)
