"""Matching on the CPU: loops over pixels, which Numba compiles when they are first called (seconds) and keeps on disk.

The loops avoid branches: an unwanted value is written and then overwritten (`found += wanted`), and conditions are joined by &
instead of `and`. A branch that the processor mispredicts costs more than it saves.
"""

from __future__ import annotations

import numpy as np
import torch

from mvdecor.compiled import compiled
from mvdecor.correspondences.matches import Matches
from mvdecor.views import Surface

F = np.float32  # of plain numbers Numba would compute in float64


def match_by_loop(a: Surface, b: Surface, tolerance: float, min_cosine: float, unique: bool) -> Matches:
    """`match_views` of surfaces on the CPU, in one thread."""
    arrays_a = (a.mask.flatten(1), a.points.flatten(1, 3), a.normals.flatten(1, 3))
    arrays_b = (b.depth, b.normals, b.cameras.rotation, b.cameras.translation, b.cameras.intrinsics)
    arrays = (x.contiguous().numpy() for x in (*arrays_a, *arrays_b))
    foreground = np.array([[np.count_nonzero(mask) for mask in s.mask.numpy()] for s in (a, b)], np.int64)
    matches = _match(*arrays, foreground, F(tolerance), F(min_cosine), unique)
    return Matches(*map(torch.from_numpy, matches))


@compiled
def _match(
    mask_a: np.ndarray,  # [P, Q], the pixels of all layers
    points_a: np.ndarray,  # [P, Q, 3]
    normals_a: np.ndarray,
    depth_b: np.ndarray,  # [P, L, H, W]
    normals_b: np.ndarray,  # [P, L, H, W, 3]
    rotation: np.ndarray,  # of B's cameras
    translation: np.ndarray,
    intrinsics: np.ndarray,
    foreground: np.ndarray,  # [2, P], pixels in A and in B
    tolerance: np.float32,
    min_cosine: np.float32,
    unique: bool,
) -> tuple[np.ndarray, ...]:
    """The fields of `Matches`."""
    pairs, _, height, width = depth_b.shape
    size = np.sum(foreground[0])
    pair, pixel_a, layer_b = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, np.int64)
    xy_b, points = np.empty((size, 2), F), np.empty((size, 3), F)
    overlap = np.empty(pairs, F)
    end = 0
    for p in range(pairs):
        start, r, t, k = end, rotation[p], translation[p], intrinsics[p]
        pixel, xy, z = _project(mask_a[p], points_a[p], foreground[0, p], r, t, k, height, width)
        layer = _fitting_layer(pixel, xy, z, normals_a[p], depth_b[p], normals_b[p], r, k, tolerance, min_cosine)
        count = 0
        for m in range(len(pixel)):
            pixel[count], layer[count], xy[count, 0], xy[count, 1] = pixel[m], layer[m], xy[m, 0], xy[m, 1]
            count += layer[m] >= 0
        keep = _nearest_to_centre(layer[:count], xy[:count], depth_b.shape) if unique else np.ones(count, np.bool_)
        for m in range(count):
            pair[end], pixel_a[end], layer_b[end] = p, pixel[m], layer[m]
            xy_b[end, 0], xy_b[end, 1] = xy[m, 0], xy[m, 1]
            point = points_a[p, pixel[m]]
            points[end, 0], points[end, 1], points[end, 2] = point[0], point[1], point[2]
            end += keep[m]
        overlap[p] = (end - start) / max(1, min(foreground[0, p], foreground[1, p]))
    return pair[:end], pixel_a[:end], layer_b[:end], xy_b[:end], points[:end], overlap


@compiled
def _project(
    mask: np.ndarray,
    points: np.ndarray,
    foreground: int,
    r: np.ndarray,
    t: np.ndarray,
    k: np.ndarray,
    height: int,
    width: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of the S foreground pixels of A whose points fall into B's image: pixel [S], (x, y) in B [S, 2], camera z in B [S]."""
    pixel, xy, depth = np.empty(foreground, np.int32), np.empty((foreground, 2), F), np.empty(foreground, F)
    count = 0
    for q in range(len(mask)):
        if not mask[q]:
            continue
        x, y, z = _rotate(r, points[q])
        x, y, z = x + t[0], y + t[1], z + t[2]
        per_z = F(1) / z
        x, y = k[0, 0] * x * per_z + k[0, 2], k[1, 1] * y * per_z + k[1, 2]
        pixel[count], xy[count, 0], xy[count, 1], depth[count] = q, x, y, z
        count += (z > F(1e-6)) & (x >= 0) & (x < F(width)) & (y >= 0) & (y < F(height))
    return pixel[:count], xy[:count], depth[:count]


@compiled
def _fitting_layer(
    pixel: np.ndarray,
    xy: np.ndarray,
    z: np.ndarray,
    normals_a: np.ndarray,
    depth_b: np.ndarray,
    normals_b: np.ndarray,
    r: np.ndarray,
    k: np.ndarray,
    tolerance: np.float32,
    min_cosine: np.float32,
) -> np.ndarray:
    """int32 [S], the layer of B that shows the same sheet of surface as A and fits it best, -1 if there is none."""
    size = len(pixel)
    best, least = np.full(size, -1, np.int32), np.full(size, tolerance, F)
    across, down = F(1) / k[0, 0], F(1) / k[1, 1]
    for layer in range(len(depth_b)):
        for m in range(size):
            i, j = int(xy[m, 1]), int(xy[m, 0])
            normal_a, normal_b = normals_a[pixel[m]], normals_b[layer, i, j]
            depth = depth_b[layer, i, j]
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
            fits = (depth > 0) & near & agree & (off_plane < least[m])
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
