"""Colours of labels, the same in every picture."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from mvdecor.errors import InputError

BACKGROUND = -2
"""Label of a pixel that sees no surface, where a picture must tell it from an undetermined one (-1)."""

WHITE = (255, 255, 255)  # background
LIGHT_GREY = (205, 205, 205)  # undetermined

# The first colours are chosen by eye: none is another one in the shade. `_all_colours` finds the rest.
_FIRST = [
    (38, 114, 196),
    (240, 136, 24),
    (44, 160, 80),
    (206, 54, 60),
    (136, 86, 190),
    (20, 180, 196),
    (236, 118, 186),
]
SHADING = 2.0
"""How much less a difference of lightness counts than one of hue between two labels: meshes are shaded."""


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
    grid = grid[(lab[:, 0] > 25) & (lab[:, 0] < 88) & (np.hypot(lab[:, 1], lab[:, 2]) > 18)]
    colours = [np.array(colour, dtype=np.float64) for colour in _FIRST]
    reserved = np.array([*colours, WHITE, LIGHT_GREY, (0, 0, 0)], dtype=np.float64)
    nearest = colour_difference(grid[:, None], reserved[None], SHADING).min(axis=1)
    while len(colours) < 256:
        best = grid[int(nearest.argmax())]
        colours.append(best)
        nearest = np.minimum(nearest, colour_difference(grid, best, SHADING))
    return np.array(colours).round().astype(np.uint8)


def colour_difference(first: np.ndarray, second: np.ndarray, shading: float = 1.0) -> np.ndarray:
    """CIEDE2000, about 1 where a difference can just be seen, about 10 where it is clear at a glance.

    Args:
        first, second: sRGB in 0..255, [..., 3], of shapes that broadcast.
        shading: the formula's k_L; 2 halves what a difference of lightness counts.

    Returns:
        float64 [...].
    """
    first, second = (_lab(np.asarray(x, dtype=np.float64)) for x in (first, second))
    return ciede2000(first, second, shading)


def ciede2000(first: np.ndarray, second: np.ndarray, k_l: float = 1.0) -> np.ndarray:
    """The difference of colours in CIELAB, [..., 3] each.

    Sharma, Wu and Dalal, "The CIEDE2000 color-difference formula" (Color Research and Application, 2005).
    """
    (l1, a1, b1), (l2, a2, b2) = (np.moveaxis(x, -1, 0) for x in (first, second))
    seventh = ((np.hypot(a1, b1) + np.hypot(a2, b2)) / 2) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(seventh / (seventh + 25.0**7))
    c1, c2 = np.hypot(stretch * a1, b1), np.hypot(stretch * a2, b2)
    h1, h2 = np.arctan2(b1, stretch * a1), np.arctan2(b2, stretch * a2)
    turn = (h2 - h1 + np.pi) % (2 * np.pi) - np.pi
    l_mean, c_mean, h_mean = (l1 + l2) / 2, (c1 + c2) / 2, h1 + turn / 2
    delta_h = 2 * np.sqrt(c1 * c2) * np.sin(turn / 2)
    t = 1 - 0.17 * np.cos(h_mean - np.radians(30)) + 0.24 * np.cos(2 * h_mean)
    t += 0.32 * np.cos(3 * h_mean + np.radians(6)) - 0.20 * np.cos(4 * h_mean - np.radians(63))
    lightness = (l2 - l1) / (1 + 0.015 * (l_mean - 50) ** 2 / np.sqrt(20 + (l_mean - 50) ** 2)) / k_l
    chroma, hue = (c2 - c1) / (1 + 0.045 * c_mean), delta_h / (1 + 0.015 * c_mean * t)
    blue = np.exp(-(((np.degrees(h_mean) % 360 - 275) / 25) ** 2))
    rotation = -2 * np.sqrt(c_mean**7 / (c_mean**7 + 25.0**7)) * np.sin(np.radians(60) * blue)
    return np.sqrt(lightness**2 + chroma**2 + hue**2 + rotation * chroma * hue)


def _lab(rgb: np.ndarray) -> np.ndarray:
    """CIELAB [..., 3] of sRGB [..., 3] in 0..255 (white point D65)."""
    value = rgb / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
    xyz = linear @ to_xyz.T / to_xyz.sum(axis=1)
    root = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    x, y, z = np.moveaxis(root, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
