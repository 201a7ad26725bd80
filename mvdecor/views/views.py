"""`Views` (what a rasterizer returns) and `Surface` (what follows exactly from a view and the mesh)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from mvdecor.rows import rows_of
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
class Foreground:
    """What is seen at the Q foreground pixels of N views in L layers, in the order of the pixels. World frame.

    Attributes:
        seen: int64 [Q], ascending, the pixel as an index into [N, L, H, W] flattened.
        view: int64 [Q], of N.
        depth, points, normals: float32 [Q], [Q, 3] and [Q, 3], see `Surface`.
    """

    seen: Tensor
    view: Tensor
    depth: Tensor
    points: Tensor
    normals: Tensor

    @property
    def values(self) -> tuple[Tensor, Tensor, Tensor]:
        """Depth, points, normals."""
        return self.depth, self.points, self.normals


class Surface:
    """The surface points seen at the pixels of N views in L layers. All in the world frame.

    Most pixels show no surface. So what is computed first, and what channels and matches are computed from, is the
    `foreground`; the images below are made of it when they are asked for, and it of them where they were given.

    Attributes:
        cameras: the N cameras.
        mask: bool [N, L, H, W], True where a surface is seen. The images below are 0 elsewhere.
        depth: float32 [N, L, H, W], camera z.
        points: float32 [N, L, H, W, 3].
        normals: float32 [N, L, H, W, 3], unit normal of the face, flipped towards the camera (two-sided: CAD faces often
            look the wrong way; the mesh itself is never changed).
    """

    def __init__(self, cameras: Cameras, mask: Tensor, depth: Tensor, points: Tensor, normals: Tensor) -> None:
        self.cameras, self.mask = cameras, mask
        self._images: tuple[Tensor, Tensor, Tensor] | None = (depth, points, normals)
        self._foreground: Foreground | None = None

    @classmethod
    def of_foreground(cls, cameras: Cameras, mask: Tensor, foreground: Foreground) -> Surface:
        """Of what is seen at the pixels of a mask."""
        surface = cls.__new__(cls)
        surface.cameras, surface.mask, surface._images, surface._foreground = cameras, mask, None, foreground
        return surface

    @property
    def foreground(self) -> Foreground:
        """The values at the pixels of the mask."""
        if self._foreground is None:
            seen, view, _ = foreground_pixels(self.mask)
            depth, points, normals = (rows_of(image.flatten(0, 3), seen) for image in self.images)
            self._foreground = Foreground(seen, view, depth, points, normals)
        return self._foreground

    @property
    def images(self) -> tuple[Tensor, Tensor, Tensor]:
        """Depth, points, normals."""
        if self._images is None:
            seen = self.foreground.seen
            depth, points, normals = (spread(values, seen, self.mask.shape) for values in self.foreground.values)
            self._images = depth, points, normals
        return self._images

    @property
    def depth(self) -> Tensor:
        return self.images[0]

    @property
    def points(self) -> Tensor:
        return self.images[1]

    @property
    def normals(self) -> Tensor:
        return self.images[2]

    def __len__(self) -> int:
        return len(self.cameras)

    def __getitem__(self, index: slice | Tensor | list[int]) -> Surface:
        if self._images is None and isinstance(index, slice) and self.mask.device.type == "cpu":
            first, stop, step = index.indices(len(self))
            if step == 1:
                return self._part(first, stop)
        index = on_device(index, self.mask.device)
        return Surface(self.cameras[index], self.mask[index], *(image[index] for image in self.images))

    def _part(self, first: int, stop: int) -> Surface:
        """The views from `first` to before `stop`, without making images."""
        foreground, of_view = self.foreground, self.mask[0].numel()
        rows = slice(*np.searchsorted(foreground.seen.numpy(), [first * of_view, stop * of_view]))
        values = (x[rows] for x in foreground.values)
        part = Foreground(foreground.seen[rows] - first * of_view, foreground.view[rows] - first, *values)
        return Surface.of_foreground(self.cameras[first:stop], self.mask[first:stop], part)

    @staticmethod
    def cat(surfaces: list[Surface]) -> Surface:
        """The views of several surfaces (also of different shapes) as one."""
        images = (torch.cat(images) for images in zip(*(s.images for s in surfaces), strict=True))
        return Surface(Cameras.cat([s.cameras for s in surfaces]), torch.cat([s.mask for s in surfaces]), *images)


class JoinedFaces:
    """The faces of several shapes in a row: of each table of a `Shape` that is asked for, the rows of all of them."""

    def __init__(self, shapes: Sequence[Shape]) -> None:
        self.shapes = shapes

    @cached_property
    def face_normals(self) -> Tensor:
        return torch.cat([shape.face_normals for shape in self.shapes])

    @cached_property
    def face_origins(self) -> Tensor:
        return torch.cat([shape.face_origins for shape in self.shapes])

    @cached_property
    def face_gradients(self) -> Tensor:
        return torch.cat([shape.face_gradients for shape in self.shapes])

    @cached_property
    def face_labels(self) -> Tensor | None:
        labels = [shape.face_labels for shape in self.shapes if shape.face_labels is not None]
        return torch.cat(labels) if len(labels) == len(self.shapes) else None


def join(shapes: Sequence[Shape], views: Sequence[Views]) -> tuple[Shape | JoinedFaces, Views]:
    """Several shapes as one and the views of each as views of it, in order, in as few operations as for one shape."""
    if len(shapes) == 1:
        return shapes[0], views[0]
    ends = np.cumsum([0, *(shape.num_faces for shape in shapes)])
    first = torch.from_numpy(np.repeat(ends[:-1], [len(v) for v in views])).to(torch.int32)
    joined = Views.cat(list(views))
    ids = joined.face_ids
    ids = torch.where(ids >= 0, ids + first.to(ids.device, non_blocking=True)[:, None, None, None], ids)
    return JoinedFaces(shapes), Views(joined.cameras, ids)


def surface_of_all(shapes: Sequence[Shape], views: Sequence[Views]) -> Surface:
    """`surface_of` each shape and its views, one after another as one `Surface`."""
    return surface_of(*join(shapes, views))


def surface_of(shape: Shape | JoinedFaces, views: Views) -> Surface:
    """Intersect each pixel's ray with the plane of the face it sees.

    Args:
        shape: the shape that `views` were rasterized from, on the views' device.
        views: N views in L layers.

    Returns:
        the `Surface` [N, L, H, W].
    """
    mask = views.face_ids >= 0
    pinholes_on_cpu = mask.device.type == "cpu" and not views.cameras.orthographic
    if pinholes_on_cpu and shape.face_origins.dtype == torch.float32:
        from mvdecor.views.pixel_loops import surface_by_loop  # here, for a GPU needs no Numba

        foreground = surface_by_loop(views.face_ids, views.cameras, shape.face_normals, shape.face_origins)
        return Surface.of_foreground(views.cameras, mask, Foreground(*foreground))
    return surface_by_tensors(shape, views, mask)


def surface_by_tensors(shape: Shape | JoinedFaces, views: Views, mask: Tensor) -> Surface:
    """`surface_of` on any device, for all pixels of the mask (those that show a face) at once."""
    seen, view, pixel = foreground_pixels(mask)
    faces = rows_of(views.face_ids.reshape(-1), seen)
    normals = rows_of(shape.face_normals, faces)
    rays, origins = views.cameras.rays_at(view, pixel), views.cameras.origins_at(view, pixel)
    facing = dot(normals, rays)
    depth = dot(rows_of(shape.face_origins, faces) - origins, normals)
    depth = depth / torch.where(facing.abs() < 1e-12, 1.0, facing)
    points = torch.addcmul(origins, depth[:, None], rays)
    normals = torch.where(facing[:, None] > 0, -normals, normals)
    return Surface.of_foreground(views.cameras, mask, Foreground(seen, view, depth, points, normals))


def barycentric(shape: Shape | JoinedFaces, faces: Tensor, points: Tensor) -> Tensor:
    """Barycentric coordinates of points in the planes of their faces.

    Args:
        shape: the shape.
        faces: int [Q], the face of each point.
        points: float32 [Q, 3].

    Returns:
        float32 [Q, 3], weights of the three corners, summing to 1.
    """
    towards_b, towards_c = rows_of(shape.face_gradients, faces).unbind(1)
    offset = points - rows_of(shape.face_origins, faces)
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


def foreground_pixels(mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """int64 [Q] each, of the foreground of a mask [N, L, H, W]: index into all, ascending; view; index into [H, W]."""
    pixels = mask.shape[-1] * mask.shape[-2]
    seen = where(mask.reshape(-1))
    return seen, seen // (mask.shape[1] * pixels), seen % pixels


def spread(values: Tensor, seen: Tensor, shape: Sequence[int]) -> Tensor:
    """[*shape, ...]: values [Q, ...] at the pixels `seen` (int64 [Q], indices into `shape` flattened), 0 elsewhere."""
    image = values.new_zeros(math.prod(shape), *values.shape[1:])
    return image.index_copy_(0, seen, values).view(*shape, *values.shape[1:])


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
