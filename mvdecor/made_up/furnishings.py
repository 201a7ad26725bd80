"""Objects of made-up rooms: ten kinds, each a few solids, about 0.8 m in size, standing on the origin."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mvdecor.made_up.solids import Array, Solid, ball, bar, box, circle, lathe, loft, rectangle, rotation, sweep


def make_ball(rng: np.random.Generator) -> list[Solid]:
    """A sphere."""
    radius = rng.uniform(0.3, 0.4)
    return [ball(radius, 16).moved(y=radius)]


def make_box(rng: np.random.Generator) -> list[Solid]:
    """A closed box, about as high as wide."""
    width, height, depth = rng.uniform(0.5, 0.75, 3)
    return [box(width, height, depth).moved(y=height / 2)]


def make_bottle(rng: np.random.Generator) -> list[Solid]:
    """A bottle: a cylinder that narrows to a neck."""
    radius, height = rng.uniform(0.17, 0.24), rng.uniform(0.85, 1.0)
    neck = 0.35 * radius
    profile = [(0.0, 0.0), (radius, 0.0), (radius, 0.55), (0.9 * radius, 0.63), (neck, 0.75), (neck, 1.0), (0.0, 1.0)]
    return [lathe([(r, height * y) for r, y in profile], 16)]


def make_vase(rng: np.random.Generator) -> list[Solid]:
    """A vase: bellied below, with a rim that opens."""
    radius, height = rng.uniform(0.26, 0.34), rng.uniform(0.7, 0.85)
    profile = [
        (0.0, 0.0),
        (0.5, 0.0),
        (0.85, 0.2),
        (1.0, 0.38),
        (0.8, 0.6),
        (0.4, 0.8),
        (0.75, 1.0),
        (0.3, 0.85),
        (0.0, 0.8),
    ]
    return [lathe([(radius * r, height * y) for r, y in profile], 16)]


def make_cup(rng: np.random.Generator) -> list[Solid]:
    """A cup with a handle."""
    radius, height = rng.uniform(0.26, 0.32), rng.uniform(0.5, 0.6)
    wall = [(0.8, 0.0), (1.0, 1.0), (0.88, 1.0), (0.7, 0.08)]
    body = lathe([(0.0, 0.0), *((radius * r, height * y) for r, y in wall), (0.0, 0.08 * height)], 18)
    angle = np.linspace(-0.45 * np.pi, 0.45 * np.pi, 9)
    reach, rise = 0.9 * radius + 0.2 * np.cos(angle), height * (0.52 + 0.33 * np.sin(angle))
    handle = sweep(np.stack([reach, rise, np.zeros(9)], axis=1), circle(0.04, 6))
    return [body, handle.turned(rotation("y", float(rng.uniform(0, 360))))]


def make_lamp(rng: np.random.Generator) -> list[Solid]:
    """A lamp: a foot, a rod and a shade."""
    height, radius = rng.uniform(0.95, 1.1), rng.uniform(0.28, 0.36)
    foot = lathe([(0.0, 0.0), (0.2, 0.0), (0.2, 0.05), (0.0, 0.05)], 14)
    rod = bar([0, 0.05, 0], [0, height - 0.2, 0], circle(0.035, 8), step=0.3)
    low, high = height - 0.4, height
    shade = lathe([(0.0, low), (radius, low), (0.55 * radius, high), (0.0, high)], 16)
    return [foot, rod, shade]


def make_chair(rng: np.random.Generator) -> list[Solid]:
    """A chair: four legs, a seat and a back."""
    width, height, top = rng.uniform(0.5, 0.6), rng.uniform(0.4, 0.48), rng.uniform(0.9, 1.05)
    back = box(width, top - height, 0.08).moved(y=(top + height) / 2, z=-width / 2 + 0.04)
    return [*_legs(width, width, height, 0.08), box(width, 0.09, width).moved(y=height), back]


def make_table(rng: np.random.Generator) -> list[Solid]:
    """A table: four legs and a top."""
    width, depth, height = rng.uniform(0.9, 1.1), rng.uniform(0.6, 0.75), rng.uniform(0.5, 0.6)
    return [*_legs(width, depth, height, 0.09), box(width, 0.09, depth).moved(y=height)]


def make_sofa(rng: np.random.Generator) -> list[Solid]:
    """A sofa: a long block with a back and two arms."""
    width, depth, height = rng.uniform(1.0, 1.2), rng.uniform(0.5, 0.6), rng.uniform(0.28, 0.34)
    back = box(width, 0.65, 0.16).moved(y=0.325, z=-depth / 2 + 0.08)
    arms = [box(0.15, height + 0.16, depth).moved(side * (width / 2 - 0.075), (height + 0.16) / 2) for side in (-1, 1)]
    return [box(width, height, depth).moved(y=height / 2), back, *arms]


def make_pyramid(rng: np.random.Generator) -> list[Solid]:
    """A pyramid with a square base."""
    side, height = rng.uniform(0.7, 0.85), rng.uniform(0.7, 0.85)
    ring = rectangle(side, side, 4)
    rings = [
        np.stack([ring[:, 0] * s, np.full(len(ring), y), ring[:, 1] * s], axis=1)
        for s, y in ((1, 0.0), (0.5, height / 2))
    ]
    ends: tuple[Array, Array] = (np.zeros(3), np.array([0.0, height, 0.0]))
    return [loft(np.stack(rings), ends=ends)]


def _legs(width: float, depth: float, height: float, thickness: float) -> list[Solid]:
    x, z = width / 2 - thickness / 2, depth / 2 - thickness / 2
    leg = bar([0, 0, 0], [0, height, 0], rectangle(thickness, thickness), step=0.3)
    return [leg.moved(sx * x, 0.0, sz * z) for sx in (-1, 1) for sz in (-1, 1)]


KINDS: dict[str, Callable[[np.random.Generator], list[Solid]]] = {
    "ball": make_ball,
    "box": make_box,
    "bottle": make_bottle,
    "vase": make_vase,
    "cup": make_cup,
    "lamp": make_lamp,
    "chair": make_chair,
    "table": make_table,
    "sofa": make_sofa,
    "pyramid": make_pyramid,
}
"""Maker of each kind of object."""
