"""`Matches`: which pixels of two views see the same surface point, samples of them, and the embeddings at both ends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
        counts: matches of each pair, where the host knows them, so that it need not wait for a device to count; or None.
    """

    pair: Tensor
    pixel_a: Tensor
    layer_b: Tensor
    xy_b: Tensor
    points: Tensor
    overlap: Tensor
    counts: tuple[int, ...] | None = None

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
        counts = self.counts
        if counts is None and self.pair.device.type == "cpu":
            counts = tuple(torch.bincount(self.pair, minlength=len(self.overlap)).tolist())
        pair, pixel_a, layer_b, xy_b, points, overlap = (x.to(device, non_blocking=True) for x in self._tensors())
        return Matches(pair, pixel_a, layer_b, xy_b, points, overlap, counts)

    def pin_memory(self) -> Matches:
        """In memory that a GPU reads without the processor."""
        pair, pixel_a, layer_b, xy_b, points, overlap = (x.pin_memory() for x in self._tensors())
        return Matches(pair, pixel_a, layer_b, xy_b, points, overlap, self.counts)

    def _tensors(self) -> tuple[Tensor, ...]:
        return self.pair, self.pixel_a, self.layer_b, self.xy_b, self.points, self.overlap

    @staticmethod
    def cat(matches: list[Matches]) -> Matches:
        """Matches of several sets of pairs as one; the pair numbers continue."""
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


def sample_matches(
    matches: Matches, count: int, generator: torch.Generator | None = None, replace: bool = False
) -> Matches:
    """At most `count` random matches of each pair, sampled without replacement.

    Args:
        matches: of P pairs.
        count: most matches per pair.
        generator: on the CPU, for the same sample on every device.
        replace: sample with replacement as the released code does: exactly `count` of each pair that has any, some of them
            twice. The loss does not know doubles: they are each other's negatives.
    """
    if replace:
        sizes = torch.bincount(matches.pair, minlength=len(matches.overlap)).cpu()
        starts, nonempty = sizes.cumsum(0) - sizes, sizes > 0
        share = torch.rand(len(sizes), count, generator=generator, dtype=torch.float64)
        sampled = starts[:, None] + (share * sizes[:, None]).long()
        return matches.select(sampled[nonempty].flatten().to(matches.pair.device))
    order = torch.rand(len(matches), generator=generator).argsort().to(matches.pair.device)
    order = order[torch.argsort(matches.pair[order], stable=True)]
    pair = matches.pair[order]
    starts = torch.searchsorted(pair, torch.arange(len(matches.overlap), device=pair.device))
    rank = torch.arange(len(pair), device=pair.device) - starts[pair]
    return matches.select(order[rank < count])


def sample_rows(size: int, count: int, generator: torch.Generator, replace: bool = False) -> Tensor:
    """int64 on the CPU: which of the `size` matches of one pair `sample_matches` takes, in its order."""
    if replace:
        return (torch.rand(count, generator=generator, dtype=torch.float64) * size).long()
    return torch.rand(size, generator=generator).argsort()[:count]


def embeddings_at_a(embeddings: Tensor, matches: Matches) -> Tensor:
    """Embeddings at the matched pixels of A.

    Args:
        embeddings: [P, L, D, H, W]; in channels-last memory, as the networks give them, they are read without a copy.
        matches: M matches of the P pairs.

    Returns:
        [M, D], float32 from embeddings of half precision.
    """
    rows, of_pair, _ = _rows(embeddings)
    return rows.index_select(0, matches.pair * of_pair + matches.pixel_a).to(_at_least_float32(embeddings))


def embeddings_at_b(embeddings: Tensor, matches: Matches) -> Tensor:
    """Embeddings at the sub-pixel positions in B, interpolated bilinearly (at the border from the pixels inside).

    Args:
        embeddings: [P, L, D, H, W], as of `embeddings_at_a`.
        matches: M matches of the P pairs.

    Returns:
        [M, D], float32 from embeddings of half precision.
    """
    height, width = embeddings.shape[-2:]
    rows, of_pair, of_layer = _rows(embeddings)
    dtype = _at_least_float32(embeddings)
    xy = matches.xy_b - 0.5
    corner = xy.floor()
    x, y = corner.long().unbind(-1)
    part_x, part_y = (xy - corner).to(dtype).unbind(-1)
    left, right = x.clamp(0, width - 1), (x + 1).clamp(0, width - 1)
    image = matches.pair * of_pair + matches.layer_b * of_layer
    above, below = (image + width * row.clamp(0, height - 1) for row in (y, y + 1))
    corners = torch.stack([above + left, below + left, above + right, below + right])
    weights = torch.stack([(1 - part_x) * (1 - part_y), (1 - part_x) * part_y, part_x * (1 - part_y), part_x * part_y])
    found = rows.index_select(0, corners.flatten()).to(dtype).view(4, len(matches), -1)  # one gather, one gradient
    return (weights[..., None] * found).sum(dim=0)


def _rows(embeddings: Tensor) -> tuple[Tensor, int, int]:
    """Embeddings [P, L, D, H, W] as rows [P * L * H * W, D], and the rows of a pair and of a layer."""
    layers, dim, height, width = embeddings.shape[1:]
    rows = embeddings.permute(0, 1, 3, 4, 2).reshape(-1, dim)
    return rows, layers * height * width, height * width


def _at_least_float32(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)
