"""Procedural textures: every part instance gets a tile of one atlas image, painted in one of the shape's materials.

Materials are sampled anew for each shape and shared between its parts, so a colour alone does not tell a part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mvdecor.made_up.model import Model
from mvdecor.made_up.solids import Array, Solid

ATLAS = 1024
"""Width and height of the atlas in pixels."""

MARGIN = 4
"""Pixels of a tile's border that no face uses: JPEG and bilinear lookups mix neighbouring tiles there."""


def paint(model: Model, rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[Array]]:
    """Paint a shape.

    Args:
        model: the shape.
        rng: source of its colours and patterns.

    Returns:
        The atlas, uint8 [ATLAS, ATLAS, 3] with row 0 at the top, and for every part float64 [F, 3, 2]: u, v of each
        corner of its faces (its solids one after the other), (0, 0) at the bottom left of the atlas.
    """
    grid = int(np.ceil(np.sqrt(len(model.parts))))
    tile = ATLAS // grid
    materials = [_material(rng) for _ in range(int(rng.integers(2, 5)))]
    labels = sorted({p.label for p in model.parts})
    choice = {label: int(rng.integers(len(materials))) for label in labels}
    atlas = np.full((ATLAS, ATLAS, 3), 127, dtype=np.uint8)
    corners = []
    for i, part in enumerate(model.parts):
        row, column = divmod(i, grid)
        square = atlas[row * tile : (row + 1) * tile, column * tile : (column + 1) * tile]
        square[:] = tile_of(materials[choice[part.label]], tile, rng)
        inside = unfold(part.solids) * (tile - 2 * MARGIN) + MARGIN
        pixels = inside + np.array([column * tile, ATLAS - (row + 1) * tile])
        corners.append(pixels / ATLAS)
    return atlas, corners


def unfold(solids: Sequence[Solid]) -> Array:
    """uv [F, 3, 2] in the unit square: each face laid flat along the axis it faces most, one scale for the part."""
    points = np.concatenate([s.vertices[s.faces] for s in solids])
    low = points.reshape(-1, 3).min(axis=0)
    size = (points.reshape(-1, 3).max(axis=0) - low).max()
    normals = np.abs(np.cross(points[:, 1] - points[:, 0], points[:, 2] - points[:, 0]))
    axes = np.array([[2, 1], [0, 2], [0, 1]])[normals.argmax(axis=1)]
    flat = np.take_along_axis(points - low, np.repeat(axes[:, None], 3, axis=1), axis=2)
    return flat / size


def _material(rng: np.random.Generator) -> dict:
    """Two colours and a pattern with its scale and direction."""
    first = rng.uniform(30, 230, 3)
    second = np.clip(first + rng.uniform(-90, 90, 3), 0, 255)
    pattern = ("plain", "grain", "stripes", "checks", "dots")[int(rng.integers(5))]
    return {
        "colours": np.stack([first, second]),
        "pattern": pattern,
        "period": float(rng.uniform(0.08, 0.3)),
        "angle": float(rng.uniform(0, np.pi)),
    }


def tile_of(material: dict, size: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A painted square [size, size, 3]: the material with its own shift, a slight tint and fine noise."""
    y, x = np.mgrid[:size, :size] / size
    cos, sin = np.cos(material["angle"]), np.sin(material["angle"])
    u = (cos * x + sin * y) / material["period"] + rng.uniform()
    v = (cos * y - sin * x) / material["period"] + rng.uniform()
    pattern = material["pattern"]
    if pattern == "grain":
        mix = 0.5 + 0.5 * np.sin(2 * np.pi * u * 0.5 + 3 * np.sin(0.7 * v + rng.uniform(0, 6)))
    elif pattern == "stripes":
        mix = (u % 1 < 0.5).astype(float)
    elif pattern == "checks":
        mix = ((u % 1 < 0.5) ^ (v % 1 < 0.5)).astype(float)
    elif pattern == "dots":
        mix = ((u % 1 - 0.5) ** 2 + (v % 1 - 0.5) ** 2 < 0.08).astype(float)
    else:
        mix = np.zeros_like(x)
    first, second = material["colours"]
    colour = first + mix[..., None] * (second - first)
    colour = colour * rng.uniform(0.92, 1.08) + rng.normal(0, 5, (size, size, 1))
    return np.clip(colour, 0, 255).astype(np.uint8)
