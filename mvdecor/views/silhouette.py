"""Soft silhouettes: differentiable masks of meshes that are projected into an image."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

FAINTEST = 1e-4  # a face leaves a pixel alone where it would cover it by less
LEAST_AREA = 1e-8  # square units of half the image: smaller faces have no inside
PAIRS = 1_000_000  # of pixels and boxes of faces that are looked at together, of several images; bounds memory


def soft_silhouette(positions: Tensor, faces: Tensor, height: int, width: int, sigma: float = 1e-4) -> Tensor:
    """How much each pixel is covered: 1 - prod_f (1 - sigmoid(-d / sigma)) (SoftRasterizer, Liu et al. 2019, eq. 1 and 4).

    d is the squared distance from the pixel's centre to the outline of face f, negative inside, in units of half the image's
    shorter side. Faces whose outline is farther outside than `blur_radius(sigma)` are left out. Values and gradients are those
    of PyTorch3D's `SoftSilhouetteShader` with as many faces per pixel as there are. Which face is near which pixel, and which
    point of its outline is nearest, is found without gradient; only the distance to that point is differentiated.

    Args:
        positions: float [B, V, 2], image positions of vertices in pixels, in front of the camera; those that are not finite are
            not seen.
        faces: int64 [F, 3], in either orientation.
        height, width: of the image.
        sigma: softness, in squared units of half the image.

    Returns:
        float [B, H, W] in [0, 1], on the device and of the type of `positions`.
    """
    b, v = positions.shape[:2]
    unit = min(height, width) / 2
    scaled = positions / unit
    with torch.no_grad():
        corner_ids = (faces + v * torch.arange(b, device=faces.device)[:, None, None]).view(-1, 3)
        boxes = _boxes(scaled.flatten(0, 1)[corner_ids], height, width, unit, blur_radius(sigma))
    if b > 1 and int(boxes[1].prod(dim=1).sum()) > PAIRS:
        halves = positions.split((b + 1) // 2)
        return torch.cat([soft_silhouette(half, faces, height, width, sigma) for half in halves])
    with torch.no_grad():
        pixel, start, end, share, inside = _near_outlines(
            scaled.flatten(0, 1), corner_ids, boxes, len(faces), height * width, width, blur_radius(sigma)
        )
    flat = scaled.flatten(0, 1)
    nearest = torch.lerp(flat.index_select(0, start), flat.index_select(0, end), share[:, None])
    distance = (nearest - _centres(pixel % (height * width), width, unit, scaled.dtype)).square().sum(dim=1)
    distance = torch.where(inside, -distance, distance)
    left = torch.zeros(b * height * width, dtype=scaled.dtype, device=scaled.device)
    left = left.index_add(0, pixel, logsigmoid(distance / sigma))
    return -torch.expm1(left).view(b, height, width)


def blur_radius(sigma: float) -> float:
    """Squared distance at which a face covers a pixel by `FAINTEST`."""
    return math.log(1 / FAINTEST - 1) * sigma


def _near_outlines(
    vertices: Tensor,
    corner_ids: Tensor,
    boxes: tuple[Tensor, Tensor],
    num_faces: int,
    pixels: int,
    width: int,
    radius: float,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """All pairs of a pixel and a face near it.

    Args:
        vertices: float [B V, 2], in units of half the image.
        corner_ids: int64 [B F, 3].
        boxes: see `_boxes`.
        num_faces: F.
        pixels: H W.
        width: W.
        radius: see `blur_radius`.

    Returns:
        int64 [Q], pixel in [B, H, W] flattened; int64 [Q] twice, the ends of the nearest edge in [B, V] flattened; float [Q],
        the nearest point's share of the way between them; bool [Q], whether the pixel's centre is inside.
    """
    low, count = boxes
    total = count.prod(dim=1)
    face = torch.arange(len(total), device=total.device).repeat_interleave(total)
    place = torch.arange(len(face), device=total.device) - (total.cumsum(0) - total)[face]
    x, y = low[face, 0] + place % count[face, 0], low[face, 1] + place // count[face, 0]
    centre = _centres(y * width + x, width, min(pixels // width, width) / 2, vertices.dtype)
    corners = vertices[corner_ids[face]]  # [P, 3, 2]
    edge = corners.roll(-1, dims=1) - corners  # from each corner to the next
    offset = centre[:, None] - corners
    share = ((offset * edge).sum(-1) / edge.square().sum(-1).clamp_min(1e-30)).clamp(0, 1)
    distance, nearest = (offset - share[..., None] * edge).square().sum(-1).min(dim=1, keepdim=True)
    side = edge[..., 0] * offset[..., 1] - edge[..., 1] * offset[..., 0]
    inside = (side > 0).all(1) | (side < 0).all(1)
    near = (inside | (distance[:, 0] < radius)).nonzero()[:, 0]
    face, nearest = face[near], nearest[near]
    start, end = (corner_ids[face].gather(1, corner)[:, 0] for corner in (nearest, (nearest + 1) % 3))
    pixel = (face // num_faces) * pixels + (y * width + x)[near]
    return pixel, start, end, share[near].gather(1, nearest)[:, 0], inside[near]


def _boxes(corners: Tensor, height: int, width: int, unit: float, radius: float) -> tuple[Tensor, Tensor]:
    """int64 [G, 2] twice: the first pixel (x, y) whose centre a face can be near, and how many along x and y."""
    size = torch.tensor([width, height], device=corners.device)
    reach = math.sqrt(radius) * unit
    visible = corners.flatten(1).isfinite().all(1) & (_area(corners).abs() > LEAST_AREA)
    corners = torch.where(visible[:, None, None], corners, -1e6) * unit
    low = (corners.amin(dim=1) - reach - 0.5).clamp(-1e6, 1e6).ceil().long().clamp_min(0)
    high = (corners.amax(dim=1) + reach - 0.5).clamp(-1e6, 1e6).floor().long()
    return low, (torch.minimum(high, size - 1) - low + 1).clamp_min(0)


def _area(corners: Tensor) -> Tensor:
    """[G], twice the signed area."""
    first, second = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]


def _centres(pixel: Tensor, width: int, unit: float, dtype: torch.dtype) -> Tensor:
    """[P, 2], positions of pixels (indices into [H, W] flattened)."""
    return (torch.stack([pixel % width, pixel // width], dim=1).to(dtype) + 0.5) / unit
