"""Ears of polygons: loops over corners, which Numba compiles when they are first called (seconds) and keeps on disk.

An ear is a corner that can be cut off: the triangle of it and its two neighbours lies within the polygon.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvdecor.compiled import compiled

UNKNOWN, EAR = -2, -1
FLAT = 1e-6
"""Largest area of a triangle, as a share of the polygon's extent squared, that is none but for rounding; and the largest
tangent of an angle of that kind."""


@compiled
def clip_ears(ring: NDArray[np.float64], x: int, y: int) -> tuple[NDArray[np.int64], bool]:
    """int64 [N - 2, 3] positions in `ring` (float64 [N, 3]), which runs counterclockwise in its coordinates x and y.

    False as well if there were not enough ears.
    """
    result = np.empty((len(ring) - 2, 3), np.int64)
    left = np.arange(len(ring))
    remaining = np.ones(len(ring), np.bool_)
    # of each corner: UNKNOWN, EAR, or another one that keeps it from being an ear as long as it is there
    obstacle = np.full(len(ring), UNKNOWN)
    size = max(ring[:, x].max() - ring[:, x].min(), ring[:, y].max() - ring[:, y].min())
    rounding = FLAT * size**2
    for number in range(len(ring) - 3):
        best, shortest = -1, np.inf
        for flat in (False, True):  # corners in line last, when nothing else is left
            for k in range(len(left)):
                before, tip, after = left[k - 1], left[k], left[(k + 1) % len(left)]
                length = _square(ring, before, after)
                if length > shortest or (length == shortest and not _is_lower(ring, tip, left[best])):
                    continue
                if flat:
                    if abs(_turn(ring, before, tip, after, x, y)) <= rounding:
                        best, shortest = k, length
                    continue
                if _is_spike(ring, before, tip, after, x, y):
                    best, shortest = k, length
                    continue
                if obstacle[tip] == UNKNOWN or (obstacle[tip] >= 0 and not remaining[obstacle[tip]]):
                    obstacle[tip] = _obstacle(ring, left, k, x, y)
                if obstacle[tip] == EAR:
                    best, shortest = k, length
            if best >= 0:
                break
        if best < 0:
            return result, False
        before, tip, after = left[best - 1], left[best], left[(best + 1) % len(left)]
        result[number] = before, tip, after
        remaining[tip] = False
        obstacle[before] = obstacle[after] = UNKNOWN
        left = np.concatenate((left[:best], left[best + 1 :]))
    result[-1] = left
    return result, _turn(ring, left[0], left[1], left[2], x, y) >= -rounding


@compiled
def _obstacle(ring: NDArray[np.float64], left: NDArray[np.int64], k: int, x: int, y: int) -> int:
    """EAR, or a corner that lies in the triangle at corner k of those left; UNKNOWN if something else is in the way."""
    a, b, c = left[k - 1], left[k], left[(k + 1) % len(left)]
    if not _turn(ring, a, b, c, x, y) > 0:
        return UNKNOWN
    crossed = False
    for j in range(len(left)):
        p, q = left[j - 1], left[j]
        turn = _turn(ring, c, a, q, x, y)
        # a corner within the triangle or on the new edge; one that coincides with a corner of the triangle may stay
        if (
            turn >= 0
            and _turn(ring, a, b, q, x, y) >= 0
            and _turn(ring, b, c, q, x, y) >= 0
            and not (_same(ring, q, a, x, y) or _same(ring, q, b, x, y) or _same(ring, q, c, x, y))
        ):
            return q
        # an edge across the new one, as from a corner that coincides with the tip
        if turn * _turn(ring, c, a, p, x, y) < 0 and _turn(ring, p, q, a, x, y) * _turn(ring, p, q, c, x, y) < 0:
            crossed = True
    return UNKNOWN if crossed else EAR


@compiled
def _square(ring: NDArray[np.float64], a: int, b: int) -> float:
    """The squared distance of two corners."""
    return (ring[a, 0] - ring[b, 0]) ** 2 + (ring[a, 1] - ring[b, 1]) ** 2 + (ring[a, 2] - ring[b, 2]) ** 2


@compiled
def _turn(ring: NDArray[np.float64], a: int, b: int, c: int, x: int, y: int) -> float:
    """Twice the area of a triangle, negative if it runs clockwise."""
    return (ring[b, x] - ring[a, x]) * (ring[c, y] - ring[a, y]) - (ring[b, y] - ring[a, y]) * (ring[c, x] - ring[a, x])


@compiled
def _is_spike(ring: NDArray[np.float64], a: int, b: int, c: int, x: int, y: int) -> bool:
    """Whether the ring goes from a to b and straight back, or nowhere: cutting b off takes no area, whatever lies around."""
    ux, uy = ring[a, x] - ring[b, x], ring[a, y] - ring[b, y]
    vx, vy = ring[c, x] - ring[b, x], ring[c, y] - ring[b, y]
    along = ux * vx + uy * vy
    return along >= 0 and abs(ux * vy - uy * vx) <= FLAT * along


@compiled
def _is_lower(ring: NDArray[np.float64], a: int, b: int) -> bool:
    """Whether a comes before b by its first coordinate, or by the next where that is the same."""
    for axis in range(3):
        if ring[a, axis] != ring[b, axis]:
            return ring[a, axis] < ring[b, axis]
    return False


@compiled
def _same(ring: NDArray[np.float64], a: int, b: int, x: int, y: int) -> bool:
    return ring[a, x] == ring[b, x] and ring[a, y] == ring[b, y]
