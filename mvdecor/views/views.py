"""`Views` (what a rasterizer returns) and `Surface` (what follows exactly from a view and the mesh)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras, on_device


@dataclass(frozen=True)
class Views:
    """Face ids seen by N cameras in L layers: all that a rasterizer returns and all that is ever cached.

    Attributes:
        cameras: the N cameras.
        face_ids: int32 [N, L, H, W], index into the faces of *this shape* (the lowest twin, see `Shape.twin_groups`),
            -1 = background. Layer 0 is what the camera sees; layer l is what it would see with the first l surfaces
            along each pixel's ray taken away (depth peeling).
    """

    cameras: Cameras
    face_ids: Tensor

    def __post_init__(self) -> None:
        n, h, w = len(self.cameras), self.cameras.height, self.cameras.width
        assert self.face_ids.dtype == torch.int32 and self.face_ids.ndim == 4, "face_ids must be int32 [N, L, H, W]"
        assert self.face_ids.shape[0] == n and self.face_ids.shape[2:] == (h, w), (
            f"face_ids {list(self.face_ids.shape)} do not fit {n} cameras of {h}x{w}"
        )

    def __len__(self) -> int:
        return len(self.cameras)

    @property
    def layers(self) -> int:
        return int(self.face_ids.shape[1])

    def __getitem__(self, index: slice | Tensor | list[int]) -> Views:
        """The views at `index` (a slice, a list or an index tensor)."""
        index = on_device(index, self.face_ids.device)
        return Views(self.cameras[index], self.face_ids[index])

    def to(self, device: torch.device | str) -> Views:
        """The same views with their tensors on `device`."""
        return Views(self.cameras.to(device), self.face_ids.to(device))

    @staticmethod
    def cat(views: list[Views]) -> Views:
        """The views of a list as one."""
        return Views(Cameras.cat([v.cameras for v in views]), torch.cat([v.face_ids for v in views]))


@dataclass(frozen=True)
class Surface:
    """The surface points seen at the pixels of N views in L layers. All in the world frame.

    Attributes:
        cameras: the N cameras.
        mask: bool [N, L, H, W], True where a surface is seen. The fields below are 0 elsewhere.
        depth: float32 [N, L, H, W], camera z.
        points: float32 [N, L, H, W, 3].
        normals: float32 [N, L, H, W, 3], unit normal of the face, flipped towards the camera (two-sided: CAD faces often
            look the wrong way; the mesh itself is never changed).
    """

    cameras: Cameras
    mask: Tensor
    depth: Tensor
    points: Tensor
    normals: Tensor

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Surface:
        index = on_device(index, self.mask.device)
        return Surface(
            self.cameras[index], self.mask[index], self.depth[index], self.points[index], self.normals[index]
        )

    @staticmethod
    def cat(surfaces: list[Surface]) -> Surface:
        """The views of several surfaces (also of different shapes) as one."""
        return Surface(
            Cameras.cat([s.cameras for s in surfaces]),
            torch.cat([s.mask for s in surfaces]),
            torch.cat([s.depth for s in surfaces]),
            torch.cat([s.points for s in surfaces]),
            torch.cat([s.normals for s in surfaces]),
        )


@dataclass(frozen=True)
class JoinedFaces:
    """The planes of the faces of several shapes in a row.

    Attributes:
        face_normals, face_origins: as of `Shape`.
    """

    face_normals: Tensor
    face_origins: Tensor


def surface_of_all(shapes: Sequence[Shape], views: Sequence[Views]) -> Surface:
    """`surface_of` each shape and its views, one after another as one `Surface`, in as few operations as for one shape."""
    faces = JoinedFaces(torch.cat([s.face_normals for s in shapes]), torch.cat([s.face_origins for s in shapes]))
    ends = np.cumsum([0, *(shape.num_faces for shape in shapes)])
    first = torch.from_numpy(np.repeat(ends[:-1], [len(v) for v in views])).to(torch.int32)
    joined = Views.cat(list(views))
    ids = joined.face_ids
    ids = torch.where(ids >= 0, ids + first.to(ids.device, non_blocking=True)[:, None, None, None], ids)
    return surface_of(faces, Views(joined.cameras, ids))


def surface_of(shape: Shape | JoinedFaces, views: Views) -> Surface:
    """Intersect each pixel's ray with the plane of the face it sees.

    Args:
        shape: the shape that `views` were rasterized from, on the views' device.
        views: N views in L layers.

    Returns:
        the `Surface` [N, L, H, W].
    """
    mask = views.face_ids >= 0
    seen, view, pixel = _foreground(mask)
    faces = views.face_ids.reshape(-1).index_select(0, seen)
    normals = shape.face_normals.index_select(0, faces)
    rays = views.cameras.rays_at(view, pixel)
    origins = views.cameras.origins_at(view, pixel)
    facing = dot(normals, rays)
    depth = dot(shape.face_origins.index_select(0, faces) - origins, normals)
    depth = depth / torch.where(facing.abs() < 1e-12, 1.0, facing)
    points = torch.addcmul(origins, depth[:, None], rays)
    normals = torch.where(facing[:, None] > 0, -normals, normals)
    return Surface(views.cameras, mask, *(_spread(values, seen, mask) for values in (depth, points, normals)))


def barycentric(shape: Shape, faces: Tensor, points: Tensor) -> Tensor:
    """Barycentric coordinates of points in the planes of their faces.

    Args:
        shape: the shape.
        faces: int [Q], the face of each point.
        points: float32 [Q, 3].

    Returns:
        float32 [Q, 3], weights of the three corners, summing to 1.
    """
    towards_b, towards_c = shape.face_gradients.index_select(0, faces).unbind(1)
    offset = points - shape.face_origins.index_select(0, faces)
    v, w = dot(offset, towards_b), dot(offset, towards_c)
    return torch.stack([1 - v - w, v, w], dim=-1)


def dot(a: Tensor, b: Tensor) -> Tensor:
    """[Q], the products of rows; quicker than a sum over so few columns."""
    result = a[:, 0] * b[:, 0]
    for i in range(1, a.shape[1]):
        result = torch.addcmul(result, a[:, i], b[:, i])
    return result


def where(mask: Tensor) -> Tensor:
    """int64 [M], the indices at which a flat mask is True; on the CPU by NumPy, in a fifth of PyTorch's time."""
    if mask.device.type == "cpu":
        return torch.from_numpy(np.flatnonzero(mask.numpy()))
    return mask.nonzero()[:, 0]


def _foreground(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of the Q foreground pixels of [N, L, H, W]: index into all flattened, view, and index into [H, W] flattened."""
    seen = where(mask.reshape(-1))
    pixels = mask.shape[-1] * mask.shape[-2]
    return seen, seen // (mask.shape[1] * pixels), seen % pixels


def _spread(values: Tensor, seen: Tensor, mask: Tensor) -> Tensor:
    """[N, L, H, W, ...]: the values [Q, ...] at the foreground, 0 elsewhere."""
    spread = values.new_zeros(mask.numel(), *values.shape[1:])
    return spread.index_copy_(0, seen, values).view(*mask.shape, *values.shape[1:])


def face_values_at_pixels(values: Tensor, views: Views, background: float | int = -1) -> Tensor:
    """Carry a value of each face to the pixels that see it (labels, for example).

    Args:
        values: [F], one value per face.
        views: N views in L layers.
        background: value of background pixels.

    Returns:
        [N, L, H, W] of `values`' type.
    """
    seen = values[views.face_ids.clamp_min(0).long()]
    return torch.where(views.face_ids >= 0, seen, torch.full_like(seen, background))
