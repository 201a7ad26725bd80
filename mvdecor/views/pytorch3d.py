"""Rasterizer by PyTorch3D, for CUDA devices."""

from __future__ import annotations

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
BIN_BYTES = 2**30  # bound on the memory of the coarse bins on CUDA
MOST_FACES_PER_PIXEL = 150  # limit of PyTorch3D's CUDA kernel

Job = tuple[int, int]  # shape, view


class PyTorch3DRasterizer:
    """Rasterizes views of unequal shapes together, `batch_size` at a time. See `rasterizers.Rasterizer`.

    No face is ever dropped by full bins: each bin has room for every face.
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
        """All views of all shapes in batches of one image size, which fit the bounds on number and memory."""
        batch: list[Job] = []
        most_faces, size = 0, None
        for shape, views in enumerate(cameras):
            for view in range(len(views)):
                most_faces = max(most_faces, faces[shape])
                too_many = (len(batch) + 1) * _bin_bytes(most_faces) > BIN_BYTES and self.device.type == "cuda"
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
        radii = torch.tensor([shape_radius(shapes[s]) for s, _ in jobs], device=self.device)
        meshes = Meshes([vertices[s] for s, _ in jobs], [faces[s] for s, _ in jobs])
        views = Cameras.cat([cameras[s][[v]] for s, v in jobs]).to(self.device)
        starts = meshes.mesh_to_faces_packed_first_idx()
        rasterize = MeshRasterizer(cameras=views.to_pytorch3d())
        per_pixel = 1 if layers == 1 else 2 * layers + 1
        while True:
            settings = RasterizationSettings(
                image_size=(views.height, views.width),
                blur_radius=BLUR_RADIUS,
                faces_per_pixel=per_pixel,
                bin_size=None if self.device.type == "cuda" else 0,
                max_faces_per_bin=_bin_faces(max(len(f) for f in faces.values())),
                perspective_correct=True,
                cull_backfaces=False,
                z_clip_value=float(radii.min()) * NEAR,
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


def _bin_faces(faces: int) -> int:
    return 2 * faces  # clipping at the near plane can split a face in two


def _bin_bytes(faces: int) -> int:
    """Memory of the coarse bins of one view, 4 bytes per entry; PyTorch3D has fewer than 22 bins per side."""
    return 4 * _bin_faces(faces) * 22 * 22
