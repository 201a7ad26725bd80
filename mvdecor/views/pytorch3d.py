"""Rasterizer by PyTorch3D, for CUDA devices."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch
from pytorch3d.renderer import MeshRasterizer, RasterizationSettings
from pytorch3d.structures import Meshes
from torch import Tensor

from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.rasterizers import GAP, NEAR, check_request, rasterized_faces, shape_radius
from mvdecor.views.views import Views

# Squared distance in units of half the image. PyTorch3D leaves holes where a pixel centre lies exactly on an edge; this
# widens each face by a thousandth of a pixel (at 256 pixels).
BLUR_RADIUS = 1e-10
BIN_ENTRIES = 2**28  # bound on the coarse bins of a batch on CUDA: 1 GB
MOST_ENTRIES = 2**31 - 1  # PyTorch3D numbers them by int32
BIN_MARGIN = 0.5  # pixels that a face's bounding box is widened by when bins are counted, for rounding
BATCH_FACES = 4_000_000  # of all views of a batch together
MOST_FACES_PER_PIXEL = 150  # limit of PyTorch3D's CUDA kernel

Job = tuple[int, int]  # shape, view


class PyTorch3DRasterizer:
    """Rasterizes views of unequal shapes together, `batch_size` at a time. See `rasterizers.Rasterizer`.

    No face is ever dropped by full bins: each bin has room for as many faces as the fullest of them is counted to hold.
    """

    def __init__(self, device: torch.device | str = "cuda", batch_size: int = 8) -> None:
        """Rasterize on `device`, at most `batch_size` views at once."""
        self.device = torch.device(device)
        self.batch_size = batch_size

    def __call__(self, shapes: Sequence[Shape], cameras: Sequence[Cameras], layers: int = 1) -> list[Views]:
        """See `rasterizers.Rasterizer`."""
        check_request(shapes, cameras, layers)
        face_ids = [rasterized_faces(shape).to(self.device) for shape in shapes]
        images: list[list[Tensor]] = [[] for _ in shapes]
        for jobs in self._batches([len(d) for d in face_ids], cameras):
            for (shape, _), image in zip(jobs, self._rasterize(shapes, face_ids, cameras, jobs, layers), strict=True):
                images[shape].append(image)
        results = []
        for view_images, views in zip(images, cameras, strict=True):
            empty = torch.empty(0, layers, views.height, views.width, dtype=torch.int32)
            results.append(Views(views, (torch.stack(view_images) if view_images else empty).to(views.rotation.device)))
        return results

    def _batches(self, faces: list[int], cameras: Sequence[Cameras]) -> Iterator[list[Job]]:
        """All views of all shapes in batches of one image size, which fit the bounds on views and faces."""
        batch: list[Job] = []
        most_faces, size = 0, None
        for shape, views in enumerate(cameras):
            for view in range(len(views)):
                most_faces = max(most_faces, faces[shape])
                too_many = (len(batch) + 1) * most_faces > BATCH_FACES
                other_size = size not in (None, (views.height, views.width))
                if batch and (too_many or other_size or len(batch) == self.batch_size):
                    yield batch
                    batch, most_faces = [], faces[shape]
                batch.append((shape, view))
                size = (views.height, views.width)
        if batch:
            yield batch

    def _rasterize(
        self,
        shapes: Sequence[Shape],
        face_ids: list[Tensor],
        cameras: Sequence[Cameras],
        jobs: list[Job],
        layers: int,
    ) -> Tensor:
        """Face ids int32 [J, L, H, W] of the jobs' views."""
        shape_numbers = sorted({shape for shape, _ in jobs})
        vertices = {s: shapes[s].vertices.to(self.device) for s in shape_numbers}
        faces = {s: shapes[s].faces.to(self.device)[face_ids[s]] for s in shape_numbers}
        radius = {s: shape_radius(shapes[s]) for s in shape_numbers}
        radii = torch.tensor([radius[s] for s, _ in jobs]).to(self.device)
        meshes = Meshes([vertices[s] for s, _ in jobs], [faces[s] for s, _ in jobs])
        views = Cameras.cat([cameras[s][[v]] for s, v in jobs]).to(self.device)
        starts = meshes.mesh_to_faces_packed_first_idx()
        near = min(radius.values()) * NEAR
        bin_size, per_bin = 0, 0
        if self.device.type == "cuda":
            bin_size = coarse_bin_size(views.height, views.width)
            per_bin = fullest_bin(meshes, views, near, bin_size)
            entries = len(jobs) * per_bin * bins(views.height, bin_size) * bins(views.width, bin_size)
            if entries > BIN_ENTRIES and len(jobs) > 1:
                half = len(jobs) // 2
                parts = (jobs[:half], jobs[half:])
                return torch.cat([self._rasterize(shapes, face_ids, cameras, part, layers) for part in parts])
            if entries > MOST_ENTRIES:
                bin_size = 0  # every face for every pixel: slow, and right
        rasterize = MeshRasterizer(cameras=views.to_pytorch3d())
        per_pixel = 1 if layers == 1 else 2 * layers + 1
        while True:
            settings = RasterizationSettings(
                image_size=(views.height, views.width),
                blur_radius=BLUR_RADIUS,
                faces_per_pixel=per_pixel,
                bin_size=bin_size,
                max_faces_per_bin=per_bin,
                perspective_correct=not views.orthographic,
                cull_backfaces=False,
                z_clip_value=near,
            )
            seen = rasterize(meshes, raster_settings=settings)
            peeled, complete = _peel(seen.pix_to_face, seen.zbuf, NEAR * radii, GAP * radii, layers)
            if complete:
                break
            if per_pixel == MOST_FACES_PER_PIXEL:
                raise RuntimeError(f"more than {per_pixel} faces touch at one pixel; rasterize with Embree instead")
            per_pixel = min(2 * per_pixel, MOST_FACES_PER_PIXEL)
        # PyTorch3D numbers the faces of the whole batch in a row
        images = [torch.where(p >= 0, d[(p - s).clamp_min(0)], -1) for p, s, d in _rows(peeled, starts, face_ids, jobs)]
        return torch.stack(images).to(torch.int32)


def _rows(
    peeled: Tensor, starts: Tensor, face_ids: list[Tensor], jobs: list[Job]
) -> Iterator[tuple[Tensor, int, Tensor]]:
    for image, start, (shape, _) in zip(peeled, starts.tolist(), jobs, strict=True):
        yield image, start, face_ids[shape]


def _peel(faces: Tensor, depth: Tensor, near: Tensor, gap: Tensor, layers: int) -> tuple[Tensor, bool]:
    """Choose the layers among the sorted faces of each pixel by the rule of `rasterizers`.

    Args:
        faces: int64 [J, H, W, K], ascending in depth, -1 = none.
        depth: float32 [J, H, W, K], camera z.
        near, gap: float32 [J].
        layers: L.

    Returns:
        int64 [J, L, H, W], and whether K was enough: False if a pixel lacks a layer that a further face could be.
    """
    gap = gap[:, None, None]
    last_depth = (near[:, None, None] - gap).expand(depth.shape[:3])
    last_face = torch.full_like(faces[..., 0], -1)
    alive = torch.ones_like(last_face, dtype=torch.bool)
    layer_faces = []
    for _ in range(layers):
        beyond = depth > (last_depth + gap)[..., None]
        candidate = (faces >= 0) & beyond & (faces != last_face[..., None]) & alive[..., None]
        alive = candidate.any(dim=-1)
        first = candidate.int().argmax(dim=-1, keepdim=True)
        last_face = torch.where(alive, faces.gather(-1, first)[..., 0], -1)
        last_depth = depth.gather(-1, first)[..., 0]
        layer_faces.append(last_face)
    cut_off = (faces[..., -1] >= 0) & ~alive
    return torch.stack(layer_faces, dim=1), not bool(cut_off.any())


def coarse_bin_size(height: int, width: int) -> int:
    """Pixels per side of a bin on CUDA, such that there are at most 16 bins per side: what PyTorch3D would choose."""
    size = max(height, width)
    return 8 if size <= 64 else 2 ** max(math.ceil(math.log2(size)) - 4, 4)


def bins(size: int, bin_size: int) -> int:
    """Bins along a side of so many pixels."""
    return -(-size // bin_size)


def fullest_bin(meshes: Meshes, cameras: Cameras, near: float, bin_size: int) -> int:
    """The most faces, by their bounding boxes in the image, that any bin of any view holds, at least 1.

    PyTorch3D's fine kernel walks all entries of a bin's row, the empty ones too, so rows should be no longer than this.

    Args:
        meshes: N meshes on the device.
        cameras: of each mesh.
        near: camera z at which faces are cut: one of whose corners some are nearer may become two, anywhere in the image.
        bin_size: pixels per side.
    """
    of_vertex, of_face, faces = (
        meshes.verts_packed_to_mesh_idx(),
        meshes.faces_packed_to_mesh_idx(),
        meshes.faces_packed(),
    )
    xy, z = (x[:, 0] for x in cameras[of_vertex].project(meshes.verts_packed()[:, None]))
    # PyTorch3D counts pixels from the right and from the bottom
    end = torch.tensor([cameras.width, cameras.height], dtype=torch.float32).to(xy.device, non_blocking=True)
    corners, z = (end - xy)[faces], z[faces]
    whole = z.amin(dim=1) > near
    low = torch.where(whole[:, None], corners.amin(dim=1) - BIN_MARGIN, 0.0)
    high = torch.where(whole[:, None], corners.amax(dim=1) + BIN_MARGIN, end)
    seen = (z.amax(dim=1) > near) & (high > 0).all(dim=1) & (low < end).all(dim=1)
    weight = torch.where(whole, 1, 2) * seen
    columns, rows = bins(cameras.width, bin_size), bins(cameras.height, bin_size)
    last = torch.tensor([columns - 1, rows - 1], dtype=torch.float32).to(xy.device, non_blocking=True)
    left, top = torch.minimum((low / bin_size).floor().clamp_min(0), last).long().unbind(-1)
    right, bottom = (torch.minimum((high / bin_size).floor().clamp_min(0), last).long() + 1).unbind(-1)
    # a face adds 1 to a rectangle of bins: four entries of the table whose sums along both axes are the counts
    table = torch.zeros(len(meshes), rows + 1, columns + 1, dtype=torch.int64, device=xy.device)
    row, column = torch.stack([top, top, bottom, bottom]), torch.stack([left, right, left, right])
    cell = (of_face * (rows + 1) + row) * (columns + 1) + column
    table.view(-1).index_add_(0, cell.flatten(), torch.stack([weight, -weight, -weight, weight]).flatten())
    return max(1, int(table.cumsum(dim=1).cumsum(dim=2).max()))
