"""Polygons of any form cut into triangles, each in its place."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from mvdecor.shapes.shape import Texture

Mesh = tuple[NDArray[np.float64], NDArray[np.int64], Texture | None, NDArray[np.int64] | None]
"""Vertices [V, 3], faces [F, 3], texture, and the polygon of each face if some had more than three corners."""
compiled: Any = numba.njit(cache=True, nogil=True, error_model="numpy")
TURNED = 1e-6  # share of a polygon's area: triangles turned by less are rounding, and no reason to leave the fan


def checked_corners(sizes: NDArray[np.int64], values: NDArray, num_vertices: int) -> NDArray[np.int64]:
    """The corners of faces as int64; ValueError for a face of fewer than three, and for an index that points nowhere."""
    if (sizes < 3).any():
        raise ValueError(f"face {int(np.argmax(sizes < 3)) + 1} has fewer than three corners")
    bad = ~((values >= 0) & (values < num_vertices) & (values == np.floor(values)))
    if bad.any():
        raise ValueError(f"a face refers to vertex {values[bad][0]:g} of {num_vertices} vertices")
    return values.astype(np.int64)


def cut_polygons(
    vertices: NDArray[np.float64], corners: NDArray[np.int64], sizes: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut polygons into triangles; one of n corners becomes n - 2 of them, in its place.

    A polygon is a fan from its first corner wherever that is right: if it is convex, and in general if none of the fan's
    triangles is turned against it. Any other is cut by clipping ears, that with the shortest new edge first, so that the
    triangles do not depend on the first corner or the direction. A polygon that is not flat is cut in its mean plane. One
    that cuts itself has no right answer: if the ears run out, it is a fan. Corners in line and repeated corners give
    triangles without area.

    Args:
        vertices: float64 [V, 3].
        corners: int64 [C], indices into `vertices`, one polygon after the other.
        sizes: int64 [P], corners of each polygon, each at least 3.

    Returns:
        int64 [F, 3] indices into `corners`, and int64 [F] the polygon of each triangle.
    """
    triangles, polygon = fan_triangles(sizes)
    if not (sizes > 3).any():
        return triangles, polygon
    first_corner, first_triangle = np.cumsum(sizes) - sizes, np.cumsum(sizes - 2) - (sizes - 2)
    points = _scaled(vertices)
    with np.errstate(invalid="ignore"):  # vertices that are no numbers are refused later
        chosen, normals = _wrong_fans(points, corners, sizes, triangles, first_triangle)
    for number, normal in zip(chosen, normals, strict=True):
        start, size = int(first_corner[number]), int(sizes[number])
        ring = points[corners[start : start + size]]
        ring = np.ascontiguousarray(ring - ring.min(axis=0))
        place = int(first_triangle[number])
        cut, complete = _clip_ears(ring, *_plane_axes(normal))
        if complete:
            triangles[place : place + size - 2] = start + cut
    return triangles, polygon


def fan_triangles(sizes: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Fans from the first corner of each polygon; arguments and result as of `cut_polygons`."""
    per_polygon = sizes - 2
    polygon = np.repeat(np.arange(len(sizes)), per_polygon)
    first_corner = np.cumsum(sizes) - sizes
    first_triangle = np.cumsum(per_polygon) - per_polygon
    start = first_corner[polygon]
    step = np.arange(len(polygon)) - first_triangle[polygon]
    return np.stack([start, start + step + 1, start + step + 2], axis=1).reshape(-1, 3), polygon


def _scaled(vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertices in [-1, 1], so that no square of them overflows."""
    largest = np.abs(vertices[np.isfinite(vertices)]).max(initial=0.0)
    return vertices / largest if largest > 0 else vertices


def _wrong_fans(
    points: NDArray[np.float64],
    corners: NDArray[np.int64],
    sizes: NDArray[np.int64],
    triangles: NDArray[np.int64],
    first_triangle: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Polygons whose fan has a triangle that is turned against the whole, and the normals of these, by area."""
    many = np.flatnonzero(sizes > 3)
    # the triangles of those polygons, one after the other
    counts = sizes[many] - 2
    starts = np.cumsum(counts) - counts
    fans = triangles[np.repeat(first_triangle[many] - starts, counts) + np.arange(counts.sum())]
    ring = corners[fans.T]
    x, y, z = (np.ascontiguousarray(points[:, axis])[ring] for axis in range(3))  # by coordinates, which is faster
    ux, uy, uz, vx, vy, vz = *(w[1] - w[0] for w in (x, y, z)), *(w[2] - w[0] for w in (x, y, z))
    cross = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    normal = np.stack([np.add.reduceat(part, starts) for part in cross], axis=1)
    size = np.sqrt((normal**2).sum(axis=1))
    unit = normal / np.where(size > 0, size, 1.0)[:, None]
    along = sum(part * np.repeat(unit[:, axis], counts) for axis, part in enumerate(cross))
    wrong = np.minimum.reduceat(along, starts) < -TURNED * size
    return many[wrong], normal[wrong]


def _plane_axes(normal: NDArray[np.float64]) -> tuple[int, int]:
    """The two coordinates that show a polygon best, in an order that shows it counterclockwise."""
    left_out = int(np.argmax(np.abs(normal)))
    x, y = (left_out + 1) % 3, (left_out + 2) % 3
    return (x, y) if normal[left_out] > 0 else (y, x)


@compiled
def _clip_ears(ring: NDArray[np.float64], x: int, y: int) -> tuple[NDArray[np.int64], bool]:
    """int64 [N - 2, 3] positions in `ring` (float64 [N, 3]), which runs counterclockwise in its coordinates x and y.

    False as well if there were not enough ears.
    """
    result = np.empty((len(ring) - 2, 3), np.int64)
    left = np.arange(len(ring))
    for number in range(len(ring) - 3):
        best, shortest = -1, np.inf
        for flat in (False, True):  # corners in line last, when nothing else is left
            for k in range(len(left)):
                length = ((ring[left[k - 1]] - ring[left[(k + 1) % len(left)]]) ** 2).sum()
                nearer = length < shortest or (length == shortest and _is_lower(ring[left[k]], ring[left[best]]))
                if nearer and _is_ear(ring, left, k, x, y, flat):
                    best, shortest = k, length
            if best >= 0:
                break
        if best < 0:
            return result, False
        result[number] = left[best - 1], left[best], left[(best + 1) % len(left)]
        left = np.concatenate((left[:best], left[best + 1 :]))
    result[-1] = left
    return result, _turn(ring[left[0]], ring[left[1]], ring[left[2]], x, y) >= 0


@compiled
def _is_ear(ring: NDArray[np.float64], left: NDArray[np.int64], k: int, x: int, y: int, flat: bool) -> bool:
    """Whether the triangle at corner k of those left lies within the polygon; `flat`: whether it has no area."""
    a, b, c = ring[left[k - 1]], ring[left[k]], ring[left[(k + 1) % len(left)]]
    area = _turn(a, b, c, x, y)
    if flat:
        return area == 0
    if not area > 0:
        return False
    for j in range(len(left)):
        p, q = ring[left[j - 1]], ring[left[j]]
        # a corner within the triangle or on the new edge; one that coincides with a corner of the triangle may stay
        if not (_same(q, a, x, y) or _same(q, b, x, y) or _same(q, c, x, y)) and (
            _turn(a, b, q, x, y) >= 0 and _turn(b, c, q, x, y) >= 0 and _turn(c, a, q, x, y) >= 0
        ):
            return False
        # an edge across the new one, as from a corner that coincides with the tip
        if (_turn(a, c, p, x, y) > 0) != (_turn(a, c, q, x, y) > 0) and (
            _turn(p, q, a, x, y) * _turn(p, q, c, x, y) < 0 and _turn(a, c, p, x, y) * _turn(a, c, q, x, y) < 0
        ):
            return False
    return True


@compiled
def _turn(a: NDArray[np.float64], b: NDArray[np.float64], c: NDArray[np.float64], x: int, y: int) -> float:
    """Twice the area of a triangle, negative if it runs clockwise."""
    return (b[x] - a[x]) * (c[y] - a[y]) - (b[y] - a[y]) * (c[x] - a[x])


@compiled
def _is_lower(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether a comes before b by its first coordinate, or by the next where that is the same."""
    for axis in range(3):
        if a[axis] != b[axis]:
            return a[axis] < b[axis]
    return False


@compiled
def _same(a: NDArray[np.float64], b: NDArray[np.float64], x: int, y: int) -> bool:
    return a[x] == b[x] and a[y] == b[y]
