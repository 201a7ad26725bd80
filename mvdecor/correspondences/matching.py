"""Which pixels of two views see the same surface point (paper section 3.1), without a nearest-neighbour search.

A point seen at a pixel of A is projected into B. It matches if B sees, at that pixel (in some layer), the same sheet of
surface: the point lies within `tolerance` of the plane that B sees there, its depth is no farther from what B sees than a
pixel reaches, and the two normals, each facing its own camera, agree. The last check keeps the two sides of a thin wall apart.
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
    seen = where(a.mask.reshape(-1))  # the Q foreground pixels of all A
    counts = _counts(seen, pairs, a.mask[0].numel())
    pair = torch.arange(pairs, device=counts.device).repeat_interleave(counts, output_size=len(seen))
    x, y, z = _project(a, seen, pair, counts, b.cameras)
    inverse = z.clamp_min(1e-9).reciprocal_()
    x, y = x.mul_(inverse), y.mul_(inverse)
    outside = torch.maximum((x - width / 2).abs_() - width / 2, (y - height / 2).abs_() - height / 2)
    column, row = x.floor().clamp_(0, width - 1), y.floor().clamp_(0, height - 1)
    pixel_b = torch.add(column, row, alpha=width).long()

    found = []
    for layer in range(layers):
        target = (pair * layers + layer).mul_(height * width).add_(pixel_b)
        some, off_plane = _on_the_same_sheet(a, b, seen, x, y, z, outside, target, tolerance, min_cosine)
        found.append((some, off_plane, target.index_select(0, some), torch.full_like(some, layer)))
    keep, off_plane, target, layer_b = (torch.cat(parts) for parts in zip(*found, strict=True))
    if layers > 1:  # each pixel of A in the layer that fits it best
        best = nearest_of_each(keep, off_plane, len(seen))
        best = best.index_select(0, keep.index_select(0, best).argsort())
        keep, target, layer_b = (v.index_select(0, best) for v in (keep, target, layer_b))
    xy = torch.stack([x.index_select(0, keep), y.index_select(0, keep)], dim=1)
    if unique:
        off_centre = xy - xy.floor() - 0.5
        best = nearest_of_each(target, dot(off_centre, off_centre), b.mask.numel())
        keep, layer_b, xy = (v.index_select(0, best) for v in (keep, layer_b, xy))
    pair, pixel_a = pair.index_select(0, keep), seen.index_select(0, keep)
    matched = _counts(pixel_a, pairs, a.mask[0].numel())
    foreground = torch.minimum(counts, torch.stack([mask.count_nonzero() for mask in b.mask])).clamp_min(1)
    points = a.points.reshape(-1, 3).index_select(0, pixel_a)
    return Matches(pair, pixel_a - pair * a.mask[0].numel(), layer_b, xy, points, matched / foreground)


def _project(a: Surface, seen: Tensor, pair: Tensor, counts: Tensor, cameras: Cameras) -> Tensor:
    """Where the points that A sees at its pixels `seen` (flat) appear to the other cameras: [3, Q], x z, y z and z."""
    _, layers, height, width = a.mask.shape
    pixel = (seen - pair * (layers * height * width)) % (height * width)
    row = (pixel.double() / width).floor_()  # exact, and quicker than to divide integers
    x, y, depth = (
        (pixel - row * width).float().add_(0.5),
        row.float().add_(0.5),
        a.depth.reshape(-1).index_select(0, seen),
    )
    to_image = cameras.intrinsics @ cameras.rotation
    offset = to_image @ a.cameras.centers[..., None] + cameras.intrinsics @ cameras.translation[..., None]
    matrices = torch.cat([to_image @ a.cameras.ray_steps().mT, offset], dim=2)
    return _per_pair(matrices, torch.stack([x * depth, y * depth, depth, torch.ones_like(x)]), counts)


def _per_pair(matrices: Tensor, columns: Tensor, counts: Tensor) -> Tensor:
    """[I, Q]: the columns [J, Q] times the matrix [I, J] of their pair; the first counts[0] are the first pair's, ..."""
    return torch.cat([m @ part for m, part in zip(matrices, columns.split(counts.tolist(), dim=1), strict=True)], dim=1)


def _on_the_same_sheet(
    a: Surface,
    b: Surface,
    seen: Tensor,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    outside: Tensor,
    target: Tensor,
    tolerance: float,
    min_cosine: float,
) -> tuple[Tensor, Tensor]:
    """Which of the Q points, seen in A at the pixels `seen` (flat), lie on the sheet that B sees at its pixels `target`.

    Returns:
        int64 [S], their indices, ascending, and float32 [S], how far each is from the plane.
    """
    focal = b.cameras.intrinsics[:, 0, 0]
    depth = b.depth.reshape(-1).index_select(0, target)
    # first what is cheap, for all: no pixel reaches farther than at a slant of 0.1
    apart = (z - depth).abs_().sub_(z * (10 / focal.min())).sub_(tolerance)
    some = where(torch.maximum(apart, outside) < 0)
    x, y, z, depth, seen, target = (v.index_select(0, some) for v in (x, y, z, depth, seen, target))
    normals_a, normals_b = (s.normals.reshape(-1, 3).T.gather(1, i.expand(3, -1)) for s, i in ((a, seen), (b, target)))
    # B's ray through (x, y) is x across + y down + first: how much each goes along the normal
    counts = _counts(seen, len(a), a.mask[0].numel())
    across, down, first = _per_pair(b.cameras.ray_steps(), normals_b, counts)
    at_centre = torch.addcmul(first, across, x.floor() + 0.5).addcmul_(down, y.floor() + 0.5)
    at_point = first.addcmul_(across, x).addcmul_(down, y)
    off_plane = at_point.mul_(z).addcmul_(at_centre, depth, value=-1).abs_()
    # along the line of sight a pixel reaches as far as it is wide there, more where the plane is seen at a slant
    slant = at_centre.abs_().clamp_min_(0.1).mul_(focal.repeat_interleave(counts, output_size=len(some)))
    cosine = (normals_a * normals_b).sum(dim=0).clamp_(-1, 1)  # rounding must not fall below -1
    same = where(
        (off_plane < tolerance)
        & ((z - depth).abs_() < tolerance + z / slant)
        & (cosine >= min_cosine)
        & (depth > 0)  # B sees anything at all
        & (z > 1e-6)
    )
    return some.index_select(0, same), off_plane.index_select(0, same)


def _counts(index: Tensor, groups: int, size: int) -> Tensor:
    """int64 [groups]: how many of an ascending index fall into each group of `size`."""
    return torch.searchsorted(index, torch.arange(groups + 1, device=index.device) * size).diff()


def nearest_of_each(key: Tensor, distance: Tensor, num_keys: int) -> Tensor:
    """Indices of the entries with the least distance of all that have their key, ascending: one entry for each distinct key.

    Args:
        key: int64 [M] in [0, num_keys).
        distance: float32 [M], not negative. Of equal ones the first is taken.
        num_keys: how many keys there might be; takes 8 bytes for each.
    """
    # the bits of such floats are ordered as they are: distance and index make one number, of which the least is wanted
    order = (distance.view(torch.int32).long() << 32) | torch.arange(len(key), device=key.device)
    least = torch.full((num_keys,), torch.iinfo(torch.int64).max, device=key.device)
    least.scatter_reduce_(0, key, order, "amin")
    return where(least.index_select(0, key) == order)


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
