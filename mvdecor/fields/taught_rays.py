"""What a distillation is taught by: rays with the features and relevancies of their pixels, patches with their affinities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from mvdecor.fields.strongest import StrongestSamples
from mvdecor.networks.crop_features import CropFeatures, box_sums
from mvdecor.seeds import seed_of

TABLE = 300_000_000
"""Bytes that features of all pixels may take; where they would take more, those of a batch are summed when it is sampled."""


@dataclass(frozen=True)
class TaughtRays:
    """R rays, or the P points of each of B patches one after another.

    Attributes:
        coordinates, weights: float32 [R, K, 3] and [R, K], see `StrongestSamples.at`.
        features: float32 [R, S, D], of the pixels at each of S scales; of patches None.
        relevancy: float32 [R, S, C]; of patches None.
        affinity: float32 [B, P, P], cosine of the pixels' dense features minus the shift; of rays None.
        shape_ids, views, share: see `SceneRays`.
    """

    coordinates: Tensor
    weights: Tensor
    features: Tensor | None
    relevancy: Tensor | None
    affinity: Tensor | None
    shape_ids: tuple[str, ...]
    views: tuple[tuple[int, ...], ...] = ((),)
    share: float = 1.0

    def to(self, device: torch.device | str) -> TaughtRays:
        """The same with the tensors on `device`."""
        tensors: dict[str, Any] = {
            name: values.to(device) for name, values in vars(self).items() if isinstance(values, Tensor)
        }
        return replace(self, **tensors)


class PixelSource:
    """Batches of random rays with features and relevancies of their pixels.

    Args:
        samples: of the views.
        crops: of each view.
        relevancy: float [n, S, C, H, W] at the `scales`.
        scales: S indices into the crops' scales.
        rays: per batch.
    """

    def __init__(
        self,
        samples: StrongestSamples,
        crops: Sequence[CropFeatures],
        relevancy: Tensor,
        scales: Sequence[int],
        rays: int,
    ) -> None:
        self.samples, self.crops, self.scales, self.count = samples, crops, scales, rays
        self.relevancy = relevancy.permute(0, 3, 4, 1, 2).flatten(0, 2).half()
        size = 2 * len(self.relevancy) * len(scales) * crops[0].embeddings[0].shape[1]
        self.table = self._all_features() if size <= TABLE else None

    def __len__(self) -> int:
        return self.count

    def sample(self, seed: int, step: int, positions: range | None = None) -> TaughtRays:
        """The batch of a step, or the rays of it at some `positions`."""
        generator = torch.Generator().manual_seed(seed_of(seed, "rays of a distillation", step))
        pixels = torch.randint(len(self.relevancy), (self.count,), generator=generator)
        pixels = pixels if positions is None else pixels[list(positions)]
        coordinates, weights = self.samples.at(pixels)
        features, relevancy = self.features(pixels), self.relevancy[pixels].float()
        share = len(pixels) / self.count
        return TaughtRays(coordinates, weights, features, relevancy, None, (self.samples.capture.id,), share=share)

    def features(self, pixels: Tensor) -> Tensor:
        """float32 [R, S, D], of pixels int64 [R] into [n, H, W] flattened."""
        if self.table is not None:
            return self.table[pixels].float()
        height, width = self.samples.depth.shape[1:]
        view, row, column = pixels // (height * width), pixels // width % height, pixels % width
        features = torch.empty(len(pixels), len(self.scales), self.crops[0].embeddings[0].shape[1])
        for number in view.unique().tolist():
            rays = (view == number).nonzero()[:, 0]
            for i, scale in enumerate(self.scales):
                features[rays, i] = self.crops[number].pixels(scale, row[rays], column[rays])
        return features

    def _all_features(self) -> Tensor:
        """float16 [n H W, S, D], see `CropFeatures.pixels`."""
        height, width = self.samples.depth.shape[1:]
        views = []
        for crops in self.crops:
            sums = [box_sums(crops.boxes[i], crops.embeddings[i].float(), height, width) for i in self.scales]
            views.append(normalize(torch.stack(sums), dim=1).permute(2, 3, 0, 1).flatten(0, 1).half())
        return torch.cat(views)


class PatchSource:
    """Batches of patches: even grids of points somewhere in a view, with the affinities of each pair of them.

    Args:
        samples: of the views.
        dense: of each view float32 [D, h, w], of unit length per place.
        points: per side of a patch.
        span: share of the view's shorter side that a patch spans.
        patches: per batch.
        shift_quantile: quantile of the cosines of pairs that counts as neither alike nor unlike; None: the cosine `shift` does.
        seed: of the patches by which that quantile is estimated.

    Attributes:
        shift: the cosine that counts so.
        quartiles: of these cosines, to be printed.
    """

    def __init__(
        self,
        samples: StrongestSamples,
        dense: Sequence[Tensor],
        points: int,
        span: float,
        patches: int,
        shift_quantile: float | None,
        shift: float,
        seed: int,
    ) -> None:
        self.samples, self.dense, self.points, self.count = samples, dense, points, patches
        self.spacing = max(1, int(span * min(samples.depth.shape[1:]) / points))
        generator = torch.Generator().manual_seed(seed_of(seed, "shift"))
        cosines = torch.cat([self._cosines(*self._patch(generator)).flatten() for _ in range(16)])
        self.shift = shift if shift_quantile is None else float(cosines.quantile(shift_quantile))
        self.quartiles = cosines.quantile(torch.tensor([0.25, 0.5, 0.75])).tolist()

    def __len__(self) -> int:
        return self.count

    def sample(self, seed: int, step: int, positions: range | None = None) -> TaughtRays:
        """The batch of a step, or the patches of it at some `positions`."""
        generator = torch.Generator().manual_seed(seed_of(seed, "patches of a distillation", step))
        patches = [self._patch(generator) for _ in range(self.count)]
        patches = patches if positions is None else [patches[i] for i in positions]
        height, width = self.samples.depth.shape[1:]
        pixels = torch.cat([(view * height + row) * width + column for view, row, column in patches])
        affinity = torch.stack([self._cosines(*patch) for patch in patches]) - self.shift
        coordinates, weights = self.samples.at(pixels)
        share = len(patches) / self.count
        return TaughtRays(coordinates, weights, None, None, affinity, (self.samples.capture.id,), share=share)

    def _patch(self, generator: torch.Generator) -> tuple[int, Tensor, Tensor]:
        """View, rows and columns of a patch."""
        count, height, width = self.samples.depth.shape
        grid = torch.arange(min(self.points, height, width)) * self.spacing
        extent = int(grid[-1]) + 1
        view, top, left = (
            int(torch.randint(limit, (), generator=generator))
            for limit in (count, height - extent + 1, width - extent + 1)
        )
        row, column = torch.meshgrid(top + grid, left + grid, indexing="ij")
        return view, row.flatten(), column.flatten()

    def _cosines(self, view: int, row: Tensor, column: Tensor) -> Tensor:
        """float32 [P, P], of the dense features at the centres of pixels, bilinear."""
        height, width = self.samples.depth.shape[1:]
        places = torch.stack([(2 * column + 1) / width - 1, (2 * row + 1) / height - 1], dim=-1)
        features = grid_sample(self.dense[view][None], places[None, None], padding_mode="border", align_corners=False)
        features = normalize(features[0, :, 0].T, dim=-1)
        return features @ features.T
