"""Which pixels of two views see the same surface point (paper section 3.1), without a nearest-neighbour search.

A point seen at a pixel of A is projected into B. It matches if B sees, at that pixel (in some layer), the same sheet of
surface: the point lies within `tolerance` of the plane that B sees there, no farther along it than a pixel reaches, and
the two normals, each facing its own camera, agree. The last check keeps the two sides of a thin wall apart.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.views import Cameras, Surface
from mvdecor.views.views import dot, where


@dataclass(frozen=True)
class Matches:
    """M matches between the views A and B of P pairs, sorted by pair.

    No pixel of A and no pixel (of a layer) of B occurs twice, unless `match_views` or `sample_matches` was asked for that.

    Attributes:
        pair: int64 [M], the pair of each match.
        pixel_a: int64 [M], pixel in A as an index into [L, H, W] flattened.
        layer_b: int64 [M], layer in B.
        xy_b: float32 [M, 2], sub-pixel image position (x, y) in B; pixel (i, j) has its centre at (j + 0.5, i + 0.5).
        points: float32 [M, 3], the surface point in the world.
        overlap: float32 [P], matches of a pair over the smaller foreground of its two views (all layers together).
    """

    pair: Tensor
    pixel_a: Tensor
    layer_b: Tensor
    xy_b: Tensor
    points: Tensor
    overlap: Tensor

    def __len__(self) -> int:
        return int(self.pair.shape[0])

    def select(self, index: Tensor) -> Matches:
        """The matches at `index` (an index tensor or mask)."""
        return Matches(
            self.pair[index],
            self.pixel_a[index],
            self.layer_b[index],
            self.xy_b[index],
            self.points[index],
            self.overlap,
        )

    def to(self, device: torch.device | str) -> Matches:
        """On a device; from pinned memory without waiting."""
        return Matches(*(x.to(device, non_blocking=True) for x in self._tensors()))

    def pin_memory(self) -> Matches:
        """In memory that a GPU reads without the processor."""
        return Matches(*(x.pin_memory() for x in self._tensors()))

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.pair, self.pixel_a, self.layer_b, self.xy_b, self.points, self.overlap

    @staticmethod
    def cat(matches: list[Matches]) -> Matches:
        """Matches of several sets of pairs as one; pairs are numbered on."""
        offsets = [0]
        for m in matches:
            offsets.append(offsets[-1] + len(m.overlap))
        return Matches(
            torch.cat([m.pair + o for m, o in zip(matches, offsets, strict=False)]),
            torch.cat([m.pixel_a for m in matches]),
            torch.cat([m.layer_b for m in matches]),
            torch.cat([m.xy_b for m in matches]),
            torch.cat([m.points for m in matches]),
            torch.cat([m.overlap for m in matches]),
        )


def match_views(
    a: Surface, b: Surface, tolerance: float = 5e-3, min_cosine: float = 0.5, unique: bool = True
) -> Matches:
    """Match view p of `a` with view p of `b`, for all P pairs at once.

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
    pairs, layers, height, width = b.mask.shape
    seen_in_a = where(a.mask.reshape(-1))  # the Q foreground pixels of all A
    counts = _counts(seen_in_a, pairs, a.mask[0].numel())
    pair = torch.arange(pairs, device=counts.device).repeat_interleave(counts, output_size=len(seen_in_a))
    points = a.points.reshape(-1, 3).index_select(0, seen_in_a)
    xy, z = _project(b.cameras, points, counts)
    column, row = xy[:, 0].floor(), xy[:, 1].floor()
    inside = (z > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    pixel_b = (row * width + column).long().mul_(inside)  # those outside look at pixel 0, and match nothing

    best = torch.full_like(z, torch.inf)
    layer_b = torch.zeros_like(pair)
    for layer in range(layers):
        target = (pair * layers + layer) * (height * width) + pixel_b
        some = where(inside & b.mask.reshape(-1).index_select(0, target))  # where B sees anything at all
        off_plane = _off_plane(a, b, seen_in_a, points, z, pair, target, some, tolerance, min_cosine)
        nearer = off_plane < best.index_select(0, some)
        some = some.index_select(0, where(nearer))
        best.index_copy_(0, some, off_plane.masked_select(nearer))
        layer_b.index_fill_(0, some, layer)

    keep = where(torch.isfinite(best))
    if unique:
        target = ((pair * layers + layer_b) * (height * width) + pixel_b).index_select(0, keep)
        off_centre = (xy - xy.floor() - 0.5).index_select(0, keep)
        keep = keep.index_select(0, nearest_of_each(target, dot(off_centre, off_centre), b.mask.numel()))
    pair, pixel_a = pair.index_select(0, keep), seen_in_a.index_select(0, keep)
    of_b = _counts(where(b.mask.reshape(-1)), pairs, b.mask[0].numel())
    foreground = torch.minimum(counts, of_b).clamp_min(1)
    return Matches(
        pair,
        pixel_a - pair * a.mask[0].numel(),
        layer_b.index_select(0, keep),
        xy.index_select(0, keep),
        points.index_select(0, keep),
        torch.bincount(pair, minlength=pairs) / foreground,
    )


def _counts(index: Tensor, groups: int, size: int) -> Tensor:
    """int64 [groups]: how many of an ascending index fall into each group of `size`."""
    return torch.searchsorted(index, torch.arange(groups + 1, device=index.device) * size).diff()


def _project(cameras: Cameras, points: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Image positions [Q, 2] and camera z [Q] of points [Q, 3], the first counts[0] of which are the first camera's, ..."""
    matrices = (cameras.intrinsics @ cameras.rotation).mT
    offsets = (cameras.intrinsics @ cameras.translation[..., None])[..., 0]
    parts = zip(offsets, points.split(counts.tolist()), matrices, strict=True)
    image = torch.cat([torch.addmm(offset, part, matrix) for offset, part, matrix in parts])
    z = image[:, 2].contiguous()
    return image[:, :2] / z.clamp_min(1e-9)[:, None], z


def _off_plane(
    a: Surface,
    b: Surface,
    seen_in_a: Tensor,
    points: Tensor,
    z: Tensor,
    pair: Tensor,
    target: Tensor,
    some: Tensor,
    tolerance: float,
    cosine: float,
) -> Tensor:
    """How far `some` of the points lie off the plane seen at the pixels `target` of B (flat); inf if no match."""
    points, z, pair, target = (x.index_select(0, some) for x in (points, z, pair, target))
    normals_a = a.normals.reshape(-1, 3).index_select(0, seen_in_a.index_select(0, some))
    normals_b = b.normals.reshape(-1, 3).index_select(0, target)
    seen = b.points.reshape(-1, 3).index_select(0, target)
    apart, sight = points - seen, b.cameras.centers.index_select(0, pair) - seen
    off_plane = dot(apart, normals_b).abs_()
    # how far a pixel reaches along the plane: its size at that depth, more where the plane is seen at a slant
    slant = dot(sight, normals_b).abs_() / dot(sight, sight).sqrt_()
    reach = tolerance + z / b.cameras.intrinsics[:, 0, 0].index_select(0, pair) / slant.clamp_min_(0.1)
    same = (
        (off_plane < tolerance)
        & (dot(apart, apart) < reach * reach)
        & (dot(normals_a, normals_b).clamp_(-1, 1) >= cosine)  # rounding must not fall below -1
    )
    return torch.where(same, off_plane, torch.inf)


def nearest_of_each(key: Tensor, distance: Tensor, num_keys: int) -> Tensor:
    """Indices of the entry with the least distance for each distinct key, in ascending order of key.

    Args:
        key: int64 [M] in [0, num_keys).
        distance: float32 [M], not negative. Of equal ones the first is taken.
        num_keys: how many keys there might be; takes 8 bytes for each.
    """
    # the bits of such floats are ordered as they are: distance and index make one number, of which the least is wanted
    order = (distance.view(torch.int32).long() << 32) | torch.arange(len(key), device=key.device)
    none = torch.iinfo(torch.int64).max
    least = torch.full((num_keys,), none, device=key.device).scatter_reduce_(0, key, order, "amin")
    return least.index_select(0, where(least != none)) & 0xFFFFFFFF


def sample_matches(
    matches: Matches, count: int, generator: torch.Generator | None = None, replace: bool = False
) -> Matches:
    """At most `count` random matches of each pair, drawn without replacement.

    Args:
        matches: of P pairs.
        count: most matches a pair.
        generator: on the CPU, for the same draw on every device.
        replace: draw with replacement as the released code does: exactly `count` of each pair that has any, some of them
            twice. The loss does not know doubles: they are each other's negatives.
    """
    if replace:
        sizes = torch.bincount(matches.pair, minlength=len(matches.overlap)).cpu()
        starts, some = sizes.cumsum(0) - sizes, sizes > 0
        share = torch.rand(len(sizes), count, generator=generator, dtype=torch.float64)
        drawn = starts[:, None] + (share * sizes[:, None]).long()
        return matches.select(drawn[some].flatten().to(matches.pair.device))
    order = torch.rand(len(matches), generator=generator).argsort().to(matches.pair.device)
    order = order[torch.argsort(matches.pair[order], stable=True)]
    pair = matches.pair[order]
    starts = torch.searchsorted(pair, torch.arange(len(matches.overlap), device=pair.device))
    rank = torch.arange(len(pair), device=pair.device) - starts[pair]
    return matches.select(order[rank < count])


def embeddings_at_a(embeddings: Tensor, matches: Matches) -> Tensor:
    """Embeddings at the matched pixels of A.

    Args:
        embeddings: [P, L, D, H, W].
        matches: M matches of the P pairs.

    Returns:
        [M, D], float32 from embeddings of half precision.
    """
    layer, pixel = _split(matches.pixel_a, embeddings)
    return embeddings.flatten(3)[matches.pair, layer, :, pixel].to(_at_least_float32(embeddings))


def embeddings_at_b(embeddings: Tensor, matches: Matches) -> Tensor:
    """Embeddings at the sub-pixel positions in B, interpolated bilinearly (at the border from the pixels inside).

    Args:
        embeddings: [P, L, D, H, W].
        matches: M matches of the P pairs.

    Returns:
        [M, D], float32 from embeddings of half precision.
    """
    height, width = embeddings.shape[-2:]
    flat = embeddings.flatten(3)
    xy = matches.xy_b - 0.5
    corner = xy.floor()
    dtype = _at_least_float32(embeddings)
    part = (xy - corner).to(dtype)
    result = torch.zeros((), device=embeddings.device)
    for dx in (0, 1):
        for dy in (0, 1):
            x = (corner[:, 0] + dx).clamp(0, width - 1).long()
            y = (corner[:, 1] + dy).clamp(0, height - 1).long()
            weight = (part[:, 0] if dx else 1 - part[:, 0]) * (part[:, 1] if dy else 1 - part[:, 1])
            result = result + weight[:, None] * flat[matches.pair, matches.layer_b, :, y * width + x].to(dtype)
    return result


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _split(index: Tensor, embeddings: Tensor) -> tuple[Tensor, Tensor]:
    pixels = embeddings.shape[-1] * embeddings.shape[-2]
    return index // pixels, index % pixels
