"""Surface points and texture colours on the CPU: loops over pixels, which Numba compiles when they are first called.

They compute what `surface_of` and `_textured` compute by tensor operations, in one pass instead of some thirty. The tests hold
one against the other.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mvdecor.compiled import compiled
from mvdecor.views.cameras import Cameras

F, D = np.float32, np.float64  # of plain numbers Numba would compute in float64


def surface_by_loop(
    face_ids: Tensor, cameras: Cameras, face_normals: Tensor, face_origins: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The fields of `Foreground`, of face ids int32 [N, L, H, W]."""
    ids = face_ids.contiguous().numpy()
    size = int(np.count_nonzero(ids >= 0))
    seen, view, depth = np.empty(size, np.int64), np.empty(size, np.int64), np.empty(size, F)
    points, normals = np.empty((size, 3), F), np.empty((size, 3), F)
    tables = (x.contiguous().numpy() for x in (cameras.centers, cameras.ray_steps(), face_normals, face_origins))
    _surface(ids, *tables, seen, view, depth, points, normals)
    from_numpy = torch.from_numpy
    return from_numpy(seen), from_numpy(view), from_numpy(depth), from_numpy(points), from_numpy(normals)


def texture_by_loop(
    faces: Tensor,
    points: Tensor,
    face_origins: Tensor,
    face_gradients: Tensor,
    uv: Tensor,
    image_ids: Tensor,
    packed: tuple[Tensor, Tensor, Tensor],
) -> Tensor:
    """Colours float32 [Q, 3] of points in faces, by a texture whose images all repeat and are blended (`Texture.packed`)."""
    tables = (faces, points, face_origins, face_gradients, uv, image_ids, *packed)
    colours = np.empty((len(faces), 3), F)
    _texture(*(x.contiguous().numpy() for x in tables), colours)
    return torch.from_numpy(colours)


@compiled
def _fused(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """a + b * c, rounded once, as PyTorch computes `addcmul`."""
    return F(D(a) + D(b) * D(c))


@compiled
def _dot(x: np.ndarray, y0: np.float32, y1: np.float32, y2: np.float32) -> np.float32:
    return _fused(_fused(x[0] * y0, x[1], y1), x[2], y2)


@compiled
def _surface(
    ids: np.ndarray,
    centers: np.ndarray,  # [N, 3]
    ray_steps: np.ndarray,  # [N, 3, 3]
    face_normals: np.ndarray,  # [F, 3]
    face_origins: np.ndarray,
    seen: np.ndarray,  # from here on the results
    view: np.ndarray,
    depth: np.ndarray,
    points: np.ndarray,
    normals: np.ndarray,
) -> None:
    views, layers, height, width = ids.shape
    q = pixel = 0
    for n in range(views):
        (across, down, first), center = ray_steps[n], centers[n]
        for layer in range(layers):
            for i in range(height):
                for j in range(width):
                    face = ids[n, layer, i, j]
                    if face >= 0:
                        x, y = F(j) + F(0.5), F(i) + F(0.5)
                        r0 = _fused(_fused(first[0], x, across[0]), y, down[0])
                        r1 = _fused(_fused(first[1], x, across[1]), y, down[1])
                        r2 = _fused(_fused(first[2], x, across[2]), y, down[2])
                        normal, origin = face_normals[face], face_origins[face]
                        facing = _dot(normal, r0, r1, r2)
                        z = _dot(normal, origin[0] - center[0], origin[1] - center[1], origin[2] - center[2])
                        z = z / (F(1) if abs(facing) < F(1e-12) else facing)
                        side = F(-1) if facing > 0 else F(1)
                        seen[q], view[q], depth[q] = pixel, n, z
                        points[q, 0], points[q, 1], points[q, 2] = (
                            _fused(center[0], z, r0),
                            _fused(center[1], z, r1),
                            _fused(center[2], z, r2),
                        )
                        normals[q, 0], normals[q, 1], normals[q, 2] = (
                            side * normal[0],
                            side * normal[1],
                            side * normal[2],
                        )
                        q += 1
                    pixel += 1


@compiled
def _mix(a: np.float32, b: np.float32, share: np.float32) -> np.float32:
    """As `torch.lerp`: from the nearer end."""
    near = share < F(0.5)
    return _fused(a if near else b, share if near else share - F(1), b - a)  # selected, not branched


@compiled
def _texture(
    faces: np.ndarray,  # [Q]
    points: np.ndarray,  # [Q, 3]
    face_origins: np.ndarray,  # [F, 3]
    face_gradients: np.ndarray,  # [F, 2, 3]
    uv: np.ndarray,  # [F, 3, 2]
    image_ids: np.ndarray,  # [F]
    pixels: np.ndarray,  # uint8 [P, 3]
    offsets: np.ndarray,  # [I]
    sizes: np.ndarray,  # [I, 2]
    colours: np.ndarray,  # the result
) -> None:
    for q in range(len(faces)):
        face = faces[q]
        origin, towards = face_origins[face], face_gradients[face]
        d0, d1, d2 = points[q, 0] - origin[0], points[q, 1] - origin[1], points[q, 2] - origin[2]
        b, c = _dot(towards[0], d0, d1, d2), _dot(towards[1], d0, d1, d2)
        a = min(max(F(1) - b - c, F(0)), F(1))
        b, c = min(max(b, F(0)), F(1)), min(max(c, F(0)), F(1))
        total = a + b + c
        a, b, c = a / total, b / total, c / total
        corner, image = uv[face], image_ids[face]
        u = a * corner[0, 0] + b * corner[1, 0] + c * corner[2, 0]
        v = a * corner[0, 1] + b * corner[1, 1] + c * corner[2, 1]
        height, width = sizes[image, 0], sizes[image, 1]
        x = (u - np.floor(u)) * F(width) - F(0.5)
        y = (F(1) - (v - np.floor(v))) * F(height) - F(0.5)
        left, top = np.floor(x), np.floor(y)
        to_right, to_below = x - left, y - top
        left_column, top_row = np.int64(left) % width, np.int64(top) % height
        right_column = left_column + 1 if left_column + 1 < width else 0
        bottom_row = top_row + 1 if top_row + 1 < height else 0
        above, below = offsets[image] + top_row * width, offsets[image] + bottom_row * width
        for k in range(3):
            upper = _mix(F(pixels[above + left_column, k]), F(pixels[above + right_column, k]), to_right)
            lower = _mix(F(pixels[below + left_column, k]), F(pixels[below + right_column, k]), to_right)
            colours[q, k] = _mix(upper, lower, to_below) / F(255)
