"""Closed triangle solids: everything here is a loft, a stack of rings of points joined side by side.

Frames are y up, units are metres. Every solid is watertight with outward winding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Solid:
    """A closed surface: `vertices` float64 [V, 3], `faces` int64 [F, 3] wound outwards."""

    vertices: Array
    faces: NDArray[np.int64]

    def moved(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Solid:
        """The solid shifted by (x, y, z)."""
        return Solid(self.vertices + np.array([x, y, z]), self.faces)

    def turned(self, rotation: Array, center: ArrayLike = (0, 0, 0)) -> Solid:
        """The solid turned by a rotation matrix [3, 3] about a point."""
        return self.bent(lambda v: (v - np.asarray(center)) @ rotation.T + np.asarray(center))

    def bent(self, warp: Callable[[Array], Array]) -> Solid:
        """The solid with `warp` applied to its vertices [V, 3]; the warp must not turn it inside out."""
        return Solid(warp(self.vertices), self.faces)


def rotation(axis: str, degrees: float) -> Array:
    """Right-handed rotation matrix [3, 3] about the x, y or z axis."""
    a = np.deg2rad(degrees)
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(a)
    matrix[i, j], matrix[j, i] = -np.sin(a), np.sin(a)
    return matrix


def merged(solids: Sequence[Solid]) -> Solid:
    """Several solids as one list of faces, in order; vertices are not shared between them."""
    starts = np.cumsum([0] + [len(s.vertices) for s in solids[:-1]])
    faces = [s.faces + start for s, start in zip(solids, starts, strict=True)]
    return Solid(np.concatenate([s.vertices for s in solids]), np.concatenate(faces))


def with_twins(solid: Solid) -> Solid:
    """Each face followed by its twin: the same corners, turned around, as in most PartNet files."""
    pairs = np.stack([solid.faces, solid.faces[:, ::-1]], axis=1)
    return Solid(solid.vertices, pairs.reshape(-1, 3))


def volume(solid: Solid) -> float:
    """Signed volume: positive for a closed surface with outward winding."""
    a, b, c = np.moveaxis(solid.vertices[solid.faces], 1, 0)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def loft(rings: Array, *, loop: bool = False, ends: tuple[ArrayLike, ArrayLike] | None = None) -> Solid:
    """Skin over rings [M, K, 3] of K points each.

    Args:
        rings: consecutive rings; point k of a ring is joined to point k of the next.
        loop: join the last ring to the first (a torus) instead of closing both ends.
        ends: apex points of the two closing fans; by default the middle of the first and of the last ring.
    """
    m, k = rings.shape[:2]
    index = np.arange(m * k).reshape(m, k)
    low = index if loop else index[:-1]
    high = np.roll(index, -1, axis=0) if loop else index[1:]
    a, b, c, d = low, np.roll(low, -1, axis=1), np.roll(high, -1, axis=1), high
    faces = [np.stack([a, b, c], -1).reshape(-1, 3), np.stack([a, c, d], -1).reshape(-1, 3)]
    vertices = [rings.reshape(-1, 3)]
    if not loop:
        first, last = ends if ends is not None else (rings[0].mean(axis=0), rings[-1].mean(axis=0))
        vertices.append(np.array([first, last], dtype=np.float64))
        ring, following = index[0], np.roll(index[0], -1)
        faces.append(np.stack([following, ring, np.full(k, m * k)], -1))
        ring, following = index[-1], np.roll(index[-1], -1)
        faces.append(np.stack([ring, following, np.full(k, m * k + 1)], -1))
    solid = Solid(np.concatenate(vertices), np.concatenate(faces).astype(np.int64))
    return solid if volume(solid) > 0 else Solid(solid.vertices, solid.faces[:, ::-1].copy())


# Outlines: [K, 2], counter-clockwise, centred on the origin.


def circle(radius: float, sides: int = 12) -> Array:
    """A regular polygon; `sides=4` gives a diamond."""
    return ellipse(radius, radius, sides)


def ellipse(a: float, b: float, sides: int = 24) -> Array:
    """An ellipse with half axes a and b."""
    angle = 2 * np.pi * np.arange(sides) / sides
    return np.stack([a * np.cos(angle), b * np.sin(angle)], axis=1)


def rectangle(width: float, depth: float, steps: int = 1) -> Array:
    """A rectangle, each side cut into `steps`."""
    corners = np.array([[1, -1], [1, 1], [-1, 1], [-1, -1]]) * [width / 2, depth / 2]
    t = np.arange(steps)[:, None] / steps
    return np.concatenate([c + t * (d - c) for c, d in zip(corners, np.roll(corners, -1, axis=0), strict=True)])


def rounded(width: float, depth: float, roundness: float, sides: int = 32) -> Array:
    """A superellipse between an ellipse (`roundness` 1) and nearly a rectangle (towards 0)."""
    angle = 2 * np.pi * (np.arange(sides) + 0.5) / sides
    cos, sin = np.cos(angle), np.sin(angle)
    x, z = np.sign(cos) * np.abs(cos) ** roundness, np.sign(sin) * np.abs(sin) ** roundness
    return np.stack([x * width / 2, z * depth / 2], axis=1)


# Solids.


def slab(outline: Array, thickness: float, bevel: float = 0.0, rings: int = 3) -> Solid:
    """A horizontal plate centred on the origin: `outline` in (x, z), with its rims moved in by `bevel` metres."""
    half = thickness / 2
    inner = 1 - bevel / np.abs(outline).max()
    steps = [(inner * s / rings, -half) for s in range(1, rings + 1)]
    if bevel > 0:
        steps += [(1.0, -half + min(bevel, half * 0.6)), (1.0, half - min(bevel, half * 0.6))]
    steps += [(inner * s / rings, half) for s in range(rings, 0, -1)]
    flat = np.stack([outline[:, 0], np.zeros(len(outline)), outline[:, 1]], axis=1)
    return loft(np.stack([flat * s + [0, y, 0] for s, y in steps]), ends=([0, -half, 0], [0, half, 0]))


def lathe(profile: Sequence[tuple[float, float]], sides: int = 16, *, loop: bool = False) -> Solid:
    """A profile of (radius, height) pairs turned about the y axis; `loop` closes the profile into a hollow body.

    A first or last radius of 0 puts the closing apex there.
    """
    points = np.asarray(profile, dtype=np.float64)
    ends = (np.array([0, points[0, 1], 0]), np.array([0, points[-1, 1], 0]))
    turned = points[points[:, 0] > 0]
    angle = 2 * np.pi * np.arange(sides) / sides
    unit = np.stack([np.cos(angle), np.zeros(sides), np.sin(angle)], axis=1)
    rings = turned[:, None, :1] * unit + turned[:, None, 1:] * np.array([0.0, 1.0, 0.0])
    return loft(rings, loop=loop, ends=None if loop else ends)


def ball(radius: float, sides: int = 12, squash: float = 1.0) -> Solid:
    """A sphere about the origin, scaled by `squash` along y."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 2)
    inner = [(radius * np.cos(a), radius * squash * np.sin(a)) for a in angle[1:-1]]
    return lathe([(0.0, -radius * squash), *inner, (0.0, radius * squash)], sides)


def torus(radius: float, thickness: float, sides: int = 20, tube_sides: int = 8) -> Solid:
    """A ring about the y axis; `thickness` is the radius of its tube."""
    angle = 2 * np.pi * np.arange(tube_sides) / tube_sides
    return lathe([(radius + thickness * np.cos(a), thickness * np.sin(a)) for a in angle], sides, loop=True)


def sweep(path: ArrayLike, outline: Array, scales: Sequence[float] | None = None) -> Solid:
    """An outline [K, 2] carried along a path [M, 3], scaled by one factor a point.

    Along a vertical path the outline's axes lie along x and z; along a level one they lie level and along y.
    """
    points = np.asarray(path, dtype=np.float64)
    steps = np.diff(points, axis=0)
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    tangents = np.concatenate([steps[:1], steps[:-1] + steps[1:], steps[-1:]])
    tangents /= np.linalg.norm(tangents, axis=1, keepdims=True)
    up = np.array([0.0, 0.0, 1.0]) if abs(tangents[0, 1]) > 0.8 else np.array([0.0, 1.0, 0.0])
    rings = []
    factors = np.ones(len(points)) if scales is None else np.asarray(scales)
    for point, tangent, factor in zip(points, tangents, factors, strict=True):
        # carried along, not chosen anew: the outline does not spin where the path turns upright
        up = up - (up @ tangent) * tangent
        up /= np.linalg.norm(up)
        side = np.cross(up, tangent)
        rings.append(point + factor * (outline[:, :1] * side + outline[:, 1:] * up))
    return loft(np.stack(rings))


def bar(a: ArrayLike, b: ArrayLike, outline: Array, taper: float = 1.0, step: float = 0.1) -> Solid:
    """A straight bar from a to b, cut about every `step` metres; `taper` is its scale at b against a."""
    start, end = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    cuts = max(2, int(np.ceil(np.linalg.norm(end - start) / step)) + 1)
    t = np.linspace(0, 1, cuts)
    return sweep(start + t[:, None] * (end - start), outline, list(1 + t * (taper - 1)))


def tube(path: ArrayLike, radius: float, sides: int = 6) -> Solid:
    """A round cable or pipe along a path [M, 3]."""
    return sweep(path, circle(radius, sides))


def box(width: float, height: float, depth: float, steps: int = 4) -> Solid:
    """A box centred on the origin with sides along x, y, z; laid as a plate across its thinnest direction."""
    size = np.array([width, height, depth])
    thin = int(size.argmin())
    level = [axis for axis in range(3) if axis != thin]
    plate = slab(rectangle(float(size[level[0]]), float(size[level[1]]), steps), float(size[thin]), rings=2)
    columns = {0: [1, 0, 2], 1: [0, 1, 2], 2: [0, 2, 1]}[thin]
    solid = Solid(plate.vertices[:, columns], plate.faces)
    return solid if volume(solid) > 0 else Solid(solid.vertices, solid.faces[:, ::-1].copy())


def chain(a: ArrayLike, b: ArrayLike, radius: float, wire: float) -> Solid:
    """Links of radius `radius` from a to b, every other one turned by 90 degrees, as one body of closed rings."""
    start, end = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    count = max(2, int(np.linalg.norm(end - start) / (2.6 * radius)))
    links = []
    for i, t in enumerate((np.arange(count) + 0.5) / count):
        stretched = torus(radius, wire, sides=10, tube_sides=5).bent(lambda v: v * [1, 1, 1.5])
        upright = stretched.turned(rotation("x", 90)).turned(rotation("y", 90 * (i % 2)))
        links.append(upright.moved(*(start + t * (end - start))))
    return merged(links)


def arc(points: ArrayLike, count: int = 12) -> Array:
    """A smooth path [count, 3] through the hull of control points [N, 3] (a Bezier curve)."""
    control = np.asarray(points, dtype=np.float64)
    t = np.linspace(0, 1, count)[:, None, None]
    layer = np.broadcast_to(control, (count, *control.shape))
    while layer.shape[1] > 1:
        layer = layer[:, :-1] * (1 - t) + layer[:, 1:] * t
    return layer[:, 0]
