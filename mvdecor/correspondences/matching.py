"""Which pixels of two views see the same surface point (paper section 3.1), without a nearest-neighbour search.

A point seen at a pixel of A is projected into B. It matches if B sees, at that pixel (in some layer), the same sheet of
surface: the point lies within `tolerance` of the plane that B sees there, its depth is no farther from what B sees than a
pixel reaches, and the two normals, each facing its own camera, agree. The last check keeps the two sides of a thin wall apart.

The rule is written twice: as a compiled loop over pixels for the CPU (matching_loop.py), where one pass over memory is
worth the most, and here as tensor operations for a GPU. The tests hold one against the other.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mvdecor.correspondences.matches import Matches
from mvdecor.views import Surface
from mvdecor.views.views import where


def match_views(
    a: Surface, b: Surface, tolerance: float = 5e-3, min_cosine: float = 0.5, unique: bool = True
) -> Matches:
    """Match view p of `a` with view p of `b`, for all P pairs at once, on the surfaces' device.

    Args:
        a: surfaces of P views [P, L, H, W].
        b: surfaces of the P other views of the same shapes.
        tolerance: largest distance of a point from the plane seen in B, in units of the world (the paper matches
            within 5e-3 of the unit sphere).
        min_cosine: least cosine between the two normals; -1 matches whatever the normals are (the released code).
        unique: of several pixels of A that fall into one pixel of B keep only the one nearest to its centre; False keeps
            them all (the released code), and the overlap may then be larger than 1.
    """
    assert len(a) == len(b), f"{len(a)} views against {len(b)}"
    assert not b.cameras.orthographic, "views are matched through pinhole cameras"
    if a.mask.device.type != "cpu":
        return match_by_tensors(a, b, tolerance, min_cosine, unique)
    from mvdecor.correspondences.matching_loop import match_by_loop  # here, for a GPU needs no Numba

    return match_by_loop(a, b, tolerance, min_cosine, unique)


def match_by_tensors(a: Surface, b: Surface, tolerance: float, min_cosine: float, unique: bool) -> Matches:
    """`match_views` on any device, for all foreground pixels of A at once."""
    pairs, layers, height, width = b.mask.shape
    of_view = a.mask[0].numel()
    source = where(a.mask.flatten())
    pair = source // of_view
    # [M, 3], M the foreground of A
    points, normals = a.points.reshape(-1, 3)[source], a.normals.reshape(-1, 3)[source]
    cameras = b.cameras[pair]
    xy, z = (x[:, 0] for x in cameras.project(points[:, None]))
    column, row = xy.floor().unbind(-1)
    inside = (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel = torch.where(inside, row * width + column, 0).long()
    centers, focal = cameras.centers, cameras.intrinsics[:, 0, 0]

    layer_b, nearest = torch.full_like(pixel, -1), torch.full_like(z, tolerance)
    for layer in range(layers):
        target = (pair * layers + layer) * (height * width) + pixel
        depth = b.depth.flatten()[target]
        points_b, facing = b.points.reshape(-1, 3)[target], b.normals.reshape(-1, 3)[target]
        off_plane = ((points - points_b) * facing).sum(-1).abs()
        slant = ((points_b - centers) * facing).sum(-1).abs() / depth.clamp_min(1e-9)
        reach = tolerance + z / (focal * slant.clamp_min(0.1))
        cosine = (normals * facing).sum(-1).clamp_min(-1)  # rounding must not fall below -1
        fits = inside & (depth > 0) & (cosine >= min_cosine) & ((z - depth).abs() < reach) & (off_plane < nearest)
        layer_b, nearest = torch.where(fits, layer, layer_b), torch.where(fits, off_plane, nearest)

    matched = layer_b >= 0
    if unique:
        target = (pair * layers + layer_b.clamp_min(0)) * (height * width) + pixel
        off_centre = (xy - xy.floor() - 0.5).square().sum(-1)
        matched = nearest_of_each(target, off_centre, matched, b.mask.numel())
    keep = where(matched)
    foreground = torch.minimum(*(s.mask.flatten(1).sum(dim=1) for s in (a, b))).clamp_min(1)
    pair = pair[keep]
    return Matches(
        pair,
        source[keep] - pair * of_view,
        layer_b[keep],
        xy[keep],
        points[keep],
        torch.zeros(pairs, device=pair.device).index_add_(0, pair, torch.ones_like(pair, dtype=torch.float32))
        / foreground,
    )


def nearest_of_each(key: Tensor, distance: Tensor, candidate: Tensor, num_keys: int) -> Tensor:
    """bool [M]: which candidates have the least distance of all that have their key, one for each key that occurs.

    Args:
        key: int64 [M] in [0, num_keys).
        distance: float32 [M], not negative. Of equal ones the first is taken.
        candidate: bool [M]; the others are left out.
        num_keys: how many keys there might be; takes 8 bytes for each.
    """
    # the bits of such floats are ordered as they are: distance and index make one number, of which the least is wanted
    most = torch.iinfo(torch.int64).max
    order = (distance.view(torch.int32).long() << 32) | torch.arange(len(key), device=key.device)
    order = torch.where(candidate, order, most)
    least = torch.full((num_keys,), most, device=key.device)
    least.scatter_reduce_(0, key, order, "amin")
    return candidate & (least.index_select(0, key) == order)
