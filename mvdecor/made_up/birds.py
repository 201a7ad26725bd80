"""A made-up category for reconstruction from photographs: birds of 14 shape parameters on one parametrised surface.

A bird is a closed tube around a spine from the tip of the tail (s = 0) to the tip of the beak (s = 1), with wings and legs
pulled out of it. A surface point is known by (s, t) on every bird: t is the angle around the spine in turns, 0 on the back,
0.25 on the left, 0.5 below. So all birds correspond point by point, and the mirror image of (s, t) is (s, -t). Birds look
along +z, y is up, their left is +x.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float64]

PARAMETERS: dict[str, tuple[float, float]] = {
    "tail_length": (0.25, 0.7),
    "tail_width": (0.05, 0.16),
    "tail_angle": (-35.0, 25.0),  # degrees from the body's line, up
    "body_length": (0.65, 0.95),
    "body_width": (0.2, 0.3),
    "body_height": (0.2, 0.32),
    "body_angle": (5.0, 45.0),  # degrees above the horizon
    "neck_length": (0.12, 0.4),
    "neck_angle": (20.0, 70.0),  # degrees above the body's line
    "head_size": (0.11, 0.17),
    "beak_length": (0.08, 0.3),
    "wing_spread": (0.0, 0.55),
    "wing_length": (0.1, 0.5),
    "leg_length": (0.05, 0.3),
}
"""Least and greatest value of each shape parameter; lengths in template units, before scaling."""

STATIONS = {"tail": (0.0, 0.25), "body": (0.25, 0.65), "neck": (0.65, 0.75), "head": (0.75, 0.87), "beak": (0.87, 1.0)}
"""Where along the spine each part lies."""

LABELS = ("tail", "body", "wing", "leg", "head", "beak")
KEYPOINTS: dict[str, tuple[float, float]] = {
    "back": (0.48, 0.0),
    "beak": (0.985, 0.0),
    "belly": (0.45, 0.5),
    "breast": (0.6, 0.5),
    "crown": (0.82, 0.0),
    "forehead": (0.86, 0.0),
    "left_eye": (0.835, 0.19),
    "left_leg": (0.42, 0.43),
    "left_wing": (0.4, 0.24),
    "nape": (0.73, 0.0),
    "right_eye": (0.835, -0.19),
    "right_leg": (0.42, -0.43),
    "right_wing": (0.4, -0.24),
    "tail": (0.02, 0.0),
    "throat": (0.74, 0.5),
}
"""The keypoints of CUB, in its order, by their (s, t)."""


@dataclass(frozen=True)
class BirdMesh:
    """A bird as a watertight mesh, symmetric in x.

    Attributes:
        vertices: float64 [V, 3].
        faces: int64 [F, 3], normals outwards.
        coordinates: float64 [V, 2], (s, t) of each vertex.
        mirror: int64 [V], the vertex on the other side.
        face_labels: int64 [F], into `LABELS`.
    """

    vertices: Array
    faces: NDArray[np.int64]
    coordinates: Array
    mirror: NDArray[np.int64]
    face_labels: NDArray[np.int64]


def mean_bird() -> dict[str, float]:
    """The middle of each parameter's range: the template's shape."""
    return {name: (low + high) / 2 for name, (low, high) in PARAMETERS.items()}


def random_bird(rng: np.random.Generator) -> dict[str, float]:
    """Parameters sampled independently and uniformly."""
    return {name: float(rng.uniform(low, high)) for name, (low, high) in PARAMETERS.items()}


def surface_points(bird: dict[str, float], coordinates: Array) -> Array:
    """float64 [P, 3], the surface points at (s, t) [P, 2], about the middle of the body.

    Args:
        bird: a value of each of `PARAMETERS`.
        coordinates: float64 [P, 2], s in [0, 1]; t of any number of turns.
    """
    s, angle = coordinates[:, 0], 2 * np.pi * coordinates[:, 1]
    y, z, slope = _spine(bird, s)
    width, height = _widths(bird, s)
    across, up = width * np.sin(angle), height * np.cos(angle)
    sides, forward = _wings(bird, s, coordinates[:, 1])
    points = np.stack([across + sides, y + up * np.cos(slope), z - up * np.sin(slope) + forward], axis=1)
    points[:, 1] -= _legs(bird, s, coordinates[:, 1])
    return points


def bird_mesh(bird: dict[str, float], rings: int = 40, sides: int = 16) -> BirdMesh:
    """A bird of rings x sides + 2 vertices; 642 with the defaults.

    Args:
        bird: a value of each of `PARAMETERS`.
        rings: between the two tips.
        sides: vertices per ring, even.
    """
    assert rings >= 3 and sides >= 4 and sides % 2 == 0, "a bird needs at least 3 rings of an even number of sides"
    s, t = np.linspace(0, 1, rings + 2)[1:-1], np.arange(sides) / sides
    t = np.where(t > 0.5, t - 1, t)
    grid = np.stack(np.meshgrid(s, t, indexing="ij"), axis=-1).reshape(-1, 2)
    coordinates = np.concatenate([grid, [[0.0, 0.0], [1.0, 0.0]]])
    ring, side = np.divmod(np.arange(rings * sides), sides)
    mirror = np.append(ring * sides + -side % sides, [rings * sides, rings * sides + 1])
    faces = _faces(rings, sides)
    corners = coordinates[faces]
    middle = corners.mean(axis=1)
    turns = np.abs(corners[..., 1]).mean(axis=1)  # the distance from the back, which no seam cuts
    vertices = surface_points(bird, coordinates)
    vertices[:, 0] = (vertices[:, 0] - vertices[mirror, 0]) / 2  # the sine of half a turn is not exactly 0
    return BirdMesh(vertices, faces, coordinates, mirror, _labels(middle[:, 0], turns))


def keypoints(bird: dict[str, float]) -> Array:
    """float64 [15, 3], the keypoints of a bird."""
    return surface_points(bird, np.array(list(KEYPOINTS.values())))


def keypoint_vertices(mesh: BirdMesh) -> dict[str, int]:
    """For each keypoint the vertex nearest to its (s, t)."""
    vertices = {}
    for name, (s, t) in KEYPOINTS.items():
        turn = np.abs(mesh.coordinates[:, 1] - t)
        distance = (mesh.coordinates[:, 0] - s) ** 2 + 0.1 * np.minimum(turn, 1 - turn) ** 2
        vertices[name] = int(distance.argmin())
    return vertices


def _spine(bird: dict[str, float], s: Array) -> tuple[Array, Array, Array]:
    """Height, forward position and slope (radians) of the spine; the body's middle is at the origin."""
    body, tail = bird["body_angle"], bird["body_angle"] - bird["tail_angle"]
    neck = body + bird["neck_angle"]
    lengths = {
        "tail": bird["tail_length"],
        "body": bird["body_length"],
        "neck": bird["neck_length"],
        "head": 2 * bird["head_size"],
        "beak": bird["beak_length"],
    }
    fine = np.linspace(0, 1, 401)
    middles = [0.0, 0.2, 0.3, 0.55, 0.7, 0.8, 1.0]
    slope = np.radians(PchipInterpolator(middles, [tail, tail, body, body, neck, 10.0, -5.0])(fine))
    speed = np.select(
        [(fine >= low) & (fine <= high) for low, high in STATIONS.values()],
        [lengths[part] / (high - low) for part, (low, high) in STATIONS.items()],
    )
    steps = np.diff(fine) * (speed[1:] + speed[:-1]) / 2
    rise = np.concatenate([[0], np.cumsum(steps * np.sin((slope[1:] + slope[:-1]) / 2))])
    run = np.concatenate([[0], np.cumsum(steps * np.cos((slope[1:] + slope[:-1]) / 2))])
    middle = np.searchsorted(fine, 0.45)
    return (
        np.interp(s, fine, rise - rise[middle]),
        np.interp(s, fine, run - run[middle]),
        np.interp(s, fine, slope),
    )


def _widths(bird: dict[str, float], s: Array) -> tuple[Array, Array]:
    """Half width and half height of the tube, 0 at both tips."""
    head, width, height = bird["head_size"], bird["body_width"], bird["body_height"]
    neck = 0.3 * head + 0.3 * width
    stations = [0.0, 0.03, 0.2, 0.28, 0.45, 0.58, 0.7, 0.79, 0.85, 0.89, 1.0]
    across = [0.0, bird["tail_width"], 0.06, 0.12, width, 0.8 * width, neck, head, 0.75 * head, 0.2 * head, 0.0]
    up = [0.0, 0.02, 0.045, 0.11, height, 0.85 * height, neck, 1.05 * head, 0.8 * head, 0.2 * head, 0.0]
    return PchipInterpolator(stations, across)(s), PchipInterpolator(stations, up)(s)


def _wings(bird: dict[str, float], s: Array, t: Array) -> tuple[Array, Array]:
    """Displacement of the wings outwards along x and along z (backwards at their tips)."""
    turn = np.abs((t + 0.5) % 1 - 0.5)
    side = np.sign(np.sin(2 * np.pi * t)) * (turn > 1e-9)
    bump = _bump((s - 0.43) / 0.15) * _bump((turn - 0.24) / 0.13)
    return side * bump * (0.04 + bird["wing_spread"]), -bump * bird["wing_length"]


def _legs(bird: dict[str, float], s: Array, t: Array) -> Array:
    """How far the legs reach down."""
    turn = np.abs((t + 0.5) % 1 - 0.5)
    return bird["leg_length"] * _bump((s - 0.42) / 0.05) * _bump((turn - 0.43) / 0.07)


def _bump(x: Array) -> Array:
    """1 at 0, falling smoothly to 0 at -1 and 1."""
    return np.where(np.abs(x) < 1, np.cos(np.pi * np.clip(x, -1, 1) / 2) ** 2, 0.0)


def _faces(rings: int, sides: int) -> NDArray[np.int64]:
    ring, side = (x.ravel() for x in np.meshgrid(np.arange(rings - 1), np.arange(sides), indexing="ij"))
    corner, after = ring * sides + side, ring * sides + (side + 1) % sides
    above, above_after = corner + sides, after + sides
    # the diagonals of the right half mirror those of the left
    left = side < sides // 2
    first = np.where(left[:, None], np.stack([corner, above, above_after], 1), np.stack([corner, above, after], 1))
    second = np.where(
        left[:, None], np.stack([corner, above_after, after], 1), np.stack([after, above, above_after], 1)
    )
    tail, beak = rings * sides, rings * sides + 1
    columns = np.arange(sides)
    last = (rings - 1) * sides
    tips = [
        np.stack([np.full(sides, tail), columns, (columns + 1) % sides], 1),
        np.stack([np.full(sides, beak), last + (columns + 1) % sides, last + columns], 1),
    ]
    return np.concatenate([first, second, *tips]).astype(np.int64)


def _labels(s: Array, turns: Array) -> NDArray[np.int64]:
    """Labels of surface points by s and by how many turns they lie from the back."""
    wing = (np.abs(s - 0.43) < 0.12) & (np.abs(turns - 0.24) < 0.1)
    leg = (np.abs(s - 0.42) < 0.045) & (np.abs(turns - 0.43) < 0.06)
    names = np.select([leg, wing, s < 0.25, s < 0.7, s < 0.88], ["leg", "wing", "tail", "body", "head"], "beak")
    return np.array([LABELS.index(name) for name in names], dtype=np.int64)
