"""Arithmetic on embeddings of pixels: the most similar pixel, principal directions as colours, means on faces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.shapes.shape import Shape


def at_pixels(values: Tensor, mask: Tensor) -> Tensor:
    """The values of the pixels of a mask, row by row.

    Args:
        values: [N, D, H, W].
        mask: bool [N, H, W], on any device.

    Returns:
        [P, D], P the number of pixels where `mask` is True.
    """
    return values.permute(0, 2, 3, 1)[mask.to(values.device)]


def nearest(queries: Tensor, keys: Tensor, chunk: int = 1024) -> tuple[Tensor, Tensor]:
    """The most similar key of each query, by cosine.

    Args:
        queries: float [Q, D], of any length.
        keys: float [K, D], K > 0.
        chunk: queries compared at once; chunk x K similarities are in memory.

    Returns:
        int64 [Q], index of the key, and float32 [Q], the cosine, in [-1, 1].
    """
    assert len(keys) > 0, "there is nothing to be similar to"
    units = normalize(keys.float(), dim=1)
    best = [(normalize(part.float(), dim=1) @ units.T).max(dim=1) for part in queries.split(chunk)]
    return torch.cat([b.indices for b in best]), torch.cat([b.values for b in best]).clamp(-1, 1)


@dataclass(frozen=True)
class PrincipalColours:
    """Colours of embeddings, the same embedding always the same: the principal directions of a sample as red, green, blue.

    Attributes:
        mean: float64 [D], of the sample.
        directions: float64 [D, K], K = min(3, D), unit, by falling variance; the entry of largest size is positive in each.
        low, high: float64 [K], 1st and 99th percentile of the sample along each direction.
    """

    mean: Tensor
    directions: Tensor
    low: Tensor
    high: Tensor

    def __call__(self, embeddings: Tensor) -> Tensor:
        """uint8 [..., 3] of [..., D], on the CPU; never white. A direction without spread is medium grey."""
        values = (embeddings.detach().cpu().double() - self.mean) @ self.directions
        spread = self.high - self.low > 1e-9
        scaled = (values - self.low) / torch.where(spread, self.high - self.low, 1.0)
        scaled = torch.where(spread, scaled, 0.5).clamp(0, 1)
        colours = torch.full((*values.shape[:-1], 3), 128, dtype=torch.uint8)
        colours[..., : values.shape[-1]] = (15 + 225 * scaled).round().to(torch.uint8)
        return colours


def principal_colours(sample: Tensor) -> PrincipalColours:
    """Find the principal directions of float [P, D], P > 0, and how far they spread."""
    rows = sample.detach().cpu().double()
    mean = rows.mean(dim=0)
    rows = rows - mean
    _, directions = torch.linalg.eigh(rows.T @ rows)  # ascending variance
    directions = directions.flip(1)[:, :3]
    # An eigenvector's sign is arbitrary: make its largest entry positive, so that colours are the same every time.
    largest = directions.gather(0, directions.abs().argmax(dim=0, keepdim=True))
    directions = directions * largest.sign()
    low, high = torch.from_numpy(np.percentile((rows @ directions).numpy(), [1, 99], axis=0))
    return PrincipalColours(mean, directions, low, high)


class FaceMeans:
    """Sums embeddings over the pixels that see each face, a batch of views at a time.

    Twin faces (`Shape.twin_groups`) share one mean, as they share their votes.
    """

    def __init__(self, shape: Shape) -> None:
        self._groups = shape.twin_groups
        self._sums: Tensor | None = None  # [F, D], at the lowest face of each group
        self._counts = torch.zeros(shape.num_faces, device=self._groups.device)

    def add(self, face_ids: Tensor, embeddings: Tensor) -> None:
        """Add the pixels of n images (views, or layers of views).

        Args:
            face_ids: int [n, H, W], -1 = background.
            embeddings: float [n, D, H, W], on the shape's device.
        """
        faces = self._groups[face_ids[face_ids >= 0].long()]
        rows = at_pixels(embeddings, face_ids >= 0).float()
        if self._sums is None:
            self._sums = rows.new_zeros(len(self._counts), rows.shape[1])
        self._sums.index_add_(0, faces, rows)
        self._counts.index_add_(0, faces, torch.ones_like(faces, dtype=self._counts.dtype))

    def result(self) -> tuple[Tensor, Tensor]:
        """float32 [F, D], the mean embedding of each face, 0 where no pixel saw it or its twin; bool [F], whether one did."""
        assert self._sums is not None, "no views were added"
        means = (self._sums / self._counts.clamp_min(1)[:, None])[self._groups]
        return means, (self._counts > 0)[self._groups]
