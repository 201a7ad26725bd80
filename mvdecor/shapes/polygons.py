"""Polygons of any form cut into triangles, each in its place."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mvdecor.shapes.shape import Texture

Mesh = tuple[NDArray[np.float64], NDArray[np.int64], Texture | None, NDArray[np.int64] | None]
"""Vertices [V, 3], faces [F, 3], texture, and the polygon of each face if some had more than three corners."""
TURNED = 1e-6  # share of a polygon's area: triangles turned by less are rounding, and no reason to leave the fan


def checked_corners(sizes: NDArray[np.int64], values: NDArray, num_vertices: int) -> NDArray[np.int64]:
    """The corners of faces as int64; ValueError for a face of fewer than three, and for an index that points nowhere."""
    if (sizes < 3).any():
        raise ValueError(f"face {int(np.argmax(sizes < 3)) + 1} has fewer than three corners")
    invalid = ~((values >= 0) & (values < num_vertices) & (values == np.floor(values)))
    if invalid.any():
        raise ValueError(f"a face refers to vertex {values[invalid][0]:g} of {num_vertices} vertices")
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
        wrong, normals = _wrong_fans(points, corners, sizes, triangles, first_triangle)
    if len(wrong) == 0:
        return triangles, polygon
    from mvdecor.shapes.ears import clip_ears  # Numba is loaded only where it is needed

    for number, normal in zip(wrong, normals, strict=True):
        start, size = int(first_corner[number]), int(sizes[number])
        ring = points[corners[start : start + size]]
        ring = np.ascontiguousarray(ring - ring.min(axis=0))
        place = int(first_triangle[number])
        cut, complete = clip_ears(ring, *_plane_axes(normal))
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
    many_sided = np.flatnonzero(sizes > 3)
    # the triangles of those polygons, one after the other
    counts = sizes[many_sided] - 2
    starts = np.cumsum(counts) - counts
    fans = triangles[np.repeat(first_triangle[many_sided] - starts, counts) + np.arange(counts.sum())]
    ring = corners[fans.T]
    x, y, z = (np.ascontiguousarray(points[:, axis])[ring] for axis in range(3))  # by coordinates, which is faster
    ux, uy, uz, vx, vy, vz = *(w[1] - w[0] for w in (x, y, z)), *(w[2] - w[0] for w in (x, y, z))
    cross = (uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx)
    normal = np.stack([np.add.reduceat(part, starts) for part in cross], axis=1)
    size = np.sqrt((normal**2).sum(axis=1))
    unit = normal / np.where(size > 0, size, 1.0)[:, None]
    along = sum(part * np.repeat(unit[:, axis], counts) for axis, part in enumerate(cross))
    wrong = np.minimum.reduceat(along, starts) < -TURNED * size
    return many_sided[wrong], normal[wrong]


def _plane_axes(normal: NDArray[np.float64]) -> tuple[int, int]:
    """The two coordinates that show a polygon best, in an order that shows it counterclockwise."""
    left_out = int(np.argmax(np.abs(normal)))
    x, y = (left_out + 1) % 3, (left_out + 2) % 3
    return (x, y) if normal[left_out] > 0 else (y, x)
