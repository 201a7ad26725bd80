"""Matching on the CPU: loops over pixels, which Numba compiles when they are first called (seconds) and keeps on disk.

The loops avoid branches: an unwanted value is written and then overwritten (`found += wanted`), and conditions are joined by &
instead of `and`. A branch that the processor mispredicts costs more than it saves.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from mvdecor.compiled import compiled
from mvdecor.correspondences.matches import Matches
from mvdecor.views import Surface

F = np.float32  # of plain numbers Numba would compute in float64


def match_by_loop(a: Surface, b: Surface, tolerance: float, min_cosine: float, unique: bool) -> Matches:
    """`match_views` of surfaces on the CPU, in one thread."""
    size, in_a, in_b = tuple(b.mask.shape), a.foreground, b.foreground
    ends = [
        np.searchsorted(seen.numpy(), np.arange(size[0] + 1) * math.prod(size[1:])) for seen in (in_a.seen, in_b.seen)
    ]
    rows = (in_a.seen, in_a.points, in_a.normals, in_b.seen, in_b.depth, in_b.normals)
    cameras = (b.cameras.rotation, b.cameras.translation, b.cameras.intrinsics)
    arrays = (x.contiguous().numpy() for x in (*rows, *cameras))
    matches = _match(*arrays, *ends, size, F(tolerance), F(min_cosine), unique)
    pair, pixel_a, layer_b, xy_b, points, overlap = map(torch.from_numpy, matches)
    return Matches(pair, pixel_a, layer_b, xy_b, points, overlap)


@compiled
def _match(
    seen_a: np.ndarray,  # [Q], of the foreground of A
    points_a: np.ndarray,  # [Q, 3]
    normals_a: np.ndarray,
    seen_b: np.ndarray,
    depth_b: np.ndarray,
    normals_b: np.ndarray,
    rotation: np.ndarray,  # of B's cameras
    translation: np.ndarray,
    intrinsics: np.ndarray,
    ends_a: np.ndarray,  # [P + 1], where the rows of each pair begin, and end
    ends_b: np.ndarray,
    size: tuple[int, int, int, int],  # P, L, H, W
    tolerance: np.float32,
    min_cosine: np.float32,
    unique: bool,
) -> tuple[np.ndarray, ...]:
    """The fields of `Matches`."""
    pairs, of_view = size[0], size[1] * size[2] * size[3]
    pair, pixel_a, layer_b = (
        np.empty(len(seen_a), np.int64),
        np.empty(len(seen_a), np.int64),
        np.empty(len(seen_a), np.int64),
    )
    xy_b, points = np.empty((len(seen_a), 2), F), np.empty((len(seen_a), 3), F)
    overlap = np.empty(pairs, F)
    row_b = np.empty(of_view, np.int32)  # of each pixel of B, -1 on the background
    end = 0
    for p in range(pairs):
        start, r, t, k = end, rotation[p], translation[p], intrinsics[p]
        of_a, of_b = slice(ends_a[p], ends_a[p + 1]), slice(ends_b[p], ends_b[p + 1])
        row_b[:] = -1
        for q in range(ends_b[p], ends_b[p + 1]):
            row_b[seen_b[q] - p * of_view] = q - ends_b[p]
        row, xy, z = _project(points_a[of_a], r, t, k, size[2], size[3])
        if ends_b[p] == ends_b[p + 1]:
            row, xy, z = row[:0], xy[:0], z[:0]
        in_b = (row_b, depth_b[of_b], normals_b[of_b])
        layer = _fitting_layer(row, xy, z, normals_a[of_a], in_b, size, r, k, tolerance, min_cosine)
        count = 0
        for m in range(len(row)):
            row[count], layer[count], xy[count, 0], xy[count, 1] = row[m], layer[m], xy[m, 0], xy[m, 1]
            count += layer[m] >= 0
        keep = _nearest_to_centre(layer[:count], xy[:count], size) if unique else np.ones(count, np.bool_)
        for m in range(count):
            q = ends_a[p] + row[m]
            pair[end], pixel_a[end], layer_b[end] = p, seen_a[q] - p * of_view, layer[m]
            xy_b[end, 0], xy_b[end, 1] = xy[m, 0], xy[m, 1]
            points[end, 0], points[end, 1], points[end, 2] = points_a[q, 0], points_a[q, 1], points_a[q, 2]
            end += keep[m]
        overlap[p] = (end - start) / max(1, min(ends_a[p + 1] - ends_a[p], ends_b[p + 1] - ends_b[p]))
    return pair[:end], pixel_a[:end], layer_b[:end], xy_b[:end], points[:end], overlap


@compiled
def _project(
    points: np.ndarray, r: np.ndarray, t: np.ndarray, k: np.ndarray, height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the S points of A that fall into B's image: row of A [S], (x, y) in B [S, 2], camera z in B [S]."""
    row, xy, depth = np.empty(len(points), np.int32), np.empty((len(points), 2), F), np.empty(len(points), F)
    count = 0
    for q in range(len(points)):
        x, y, z = _rotate(r, points[q])
        x, y, z = x + t[0], y + t[1], z + t[2]
        per_z = F(1) / z
        x, y = k[0, 0] * x * per_z + k[0, 2], k[1, 1] * y * per_z + k[1, 2]
        row[count], xy[count, 0], xy[count, 1], depth[count] = q, x, y, z
        count += (z > F(1e-6)) & (x >= 0) & (x < F(width)) & (y >= 0) & (y < F(height))
    return row[:count], xy[:count], depth[:count]


@compiled
def _fitting_layer(
    row_a: np.ndarray,
    xy: np.ndarray,
    z: np.ndarray,
    normals_a: np.ndarray,
    in_b: tuple[np.ndarray, np.ndarray, np.ndarray],  # row of each pixel, depth and normal of each row
    shape: tuple[int, int, int, int],
    r: np.ndarray,
    k: np.ndarray,
    tolerance: np.float32,
    min_cosine: np.float32,
) -> np.ndarray:
    """int32 [S], the layer of B that shows the same sheet of surface as A and fits it best, -1 if there is none."""
    row_b, depth_b, normals_b = in_b
    size = len(row_a)
    best, least = np.full(size, -1, np.int32), np.full(size, tolerance, F)
    across, down = F(1) / k[0, 0], F(1) / k[1, 1]
    for layer in range(shape[1]):
        for m in range(size):
            i, j = int(xy[m, 1]), int(xy[m, 0])
            row = row_b[(layer * shape[2] + i) * shape[3] + j]
            normal_a, normal_b = normals_a[row_a[m]], normals_b[max(row, 0)]
            depth = depth_b[max(row, 0)]
            cosine = normal_a[0] * normal_b[0] + normal_a[1] * normal_b[1] + normal_a[2] * normal_b[2]
            # how far the rays through the point and through the pixel's centre go along the normal, for a depth of 1
            n = _rotate(r, normal_b)
            x, y = xy[m, 0], xy[m, 1]
            to_point = (x - k[0, 2]) * across * n[0] + (y - k[1, 2]) * down * n[1] + n[2]
            x, y = np.floor(x) + F(0.5), np.floor(y) + F(0.5)
            to_centre = (x - k[0, 2]) * across * n[0] + (y - k[1, 2]) * down * n[1] + n[2]
            off_plane = abs(to_point * z[m] - to_centre * depth)
            # along the line of sight a pixel reaches z / focal, more where the plane is seen at a slant
            near = (abs(z[m] - depth) - tolerance) * k[0, 0] * max(abs(to_centre), F(0.1)) < z[m]
            agree = (cosine >= min_cosine) | (min_cosine <= -1)  # rounding may fall below -1
            fits = (row >= 0) & (depth > 0) & near & agree & (off_plane < least[m])
            best[m], least[m] = layer if fits else best[m], off_plane if fits else least[m]
    return best


@compiled
def _nearest_to_centre(layer: np.ndarray, xy: np.ndarray, shape: tuple[int, int, int, int]) -> np.ndarray:
    """bool [M], True for those that are the nearest to the centre of their pixel of B, of equal ones the first."""
    pixel, off_centre = np.empty(len(xy), np.int32), np.empty(len(xy), F)
    nearest = np.full(shape[1] * shape[2] * shape[3], -1, np.int32)  # in each pixel of B
    for m in range(len(xy)):
        i, j = int(xy[m, 1]), int(xy[m, 0])
        x, y = xy[m, 0] - F(j) - F(0.5), xy[m, 1] - F(i) - F(0.5)
        pixel[m], off_centre[m] = (layer[m] * shape[2] + i) * shape[3] + j, x * x + y * y
        rival = nearest[pixel[m]]
        nearest[pixel[m]] = m if (rival < 0) | (off_centre[m] < off_centre[rival]) else rival
    keep = np.empty(len(xy), np.bool_)
    for m in range(len(xy)):
        keep[m] = nearest[pixel[m]] == m
    return keep


@compiled
def _rotate(r: np.ndarray, v: np.ndarray) -> tuple[np.float32, np.float32, np.float32]:
    return (
        r[0, 0] * v[0] + r[0, 1] * v[1] + r[0, 2] * v[2],
        r[1, 0] * v[0] + r[1, 1] * v[1] + r[1, 2] * v[2],
        r[2, 0] * v[0] + r[2, 1] * v[1] + r[2, 2] * v[2],
    )
