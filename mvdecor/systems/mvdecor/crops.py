"""Pairs of crops of one view: dense contrast in 2D (in the manner of DenseCL, Wang et al., CVPR 2021), as a baseline.

The two crops are matched by the 2D transforms that made them, where DenseCL's matching is by similarity of features: the
baseline has exact matches, as the pairs of views have, and differs from them only in never seeing a point from two sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from mvdecor.channels import channel_slice
from mvdecor.correspondences import Matches, sample_matches
from mvdecor.correspondences.crops import Crop, crop_images, match_crops, sample_crop
from mvdecor.shapes import Shape
from mvdecor.systems.mvdecor.batches import PairSource
from mvdecor.views import ForegroundImages, Surface, Views, jitter_colours, surface_of


@dataclass
class CropPairSource(PairSource):
    """Samples batches of pairs of crops, each pair from one view of one shape.

    The view is rendered once; each crop changes its colours by itself. A pair counts if more than `matching.min_overlap` of the
    smaller crop's foreground is in both; a shape of which `matching.tries` pairs do not is reported, and not sampled again.
    The rest of `matching` has no part in this.
    """

    scale: tuple[float, float] = (0.2, 1.0)
    """Least and greatest share of the view's area in a crop."""
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    """Least and greatest ratio of a crop's width to its height."""
    flip: float = 0.5
    """Probability of mirroring a crop."""

    stream: ClassVar[str] = "crops of one view"

    @property
    def _sequential(self) -> bool:
        return True

    def _pair(
        self, shape: Shape, generator: torch.Generator
    ) -> tuple[ForegroundImages, Matches, tuple[int, int]] | None:
        count = self.shape_views.num_views(shape)
        for _ in range(self.matching.tries):
            view = int(torch.randint(count, (1,), generator=generator))
            views = self.shape_views.views(shape, [view])
            surface = surface_of(shape, views)
            size = (surface.mask.shape[-2], surface.mask.shape[-1])
            a, b = (sample_crop(size, self.scale, self.ratio, self.flip, generator) for _ in range(2))
            matches = match_crops(surface, a, b)
            if float(matches.overlap) > self.matching.min_overlap:
                images = self._images(shape, views, surface, (a, b), generator)
                return ForegroundImages.of(images), sample_matches(matches, self.points, generator), (view, view)
        return None

    def _images(
        self, shape: Shape, views: Views, surface: Surface, crops: Sequence[Crop], generator: torch.Generator
    ) -> Tensor:
        """float32 [2, L, C, H, W], the crops of one rendering with colours jittered by themselves."""
        channels, strength = self.rendering.channels, self.rendering.colour_jitter
        plain = replace(self.rendering, colour_jitter=0.0)
        image = plain(shape, views, surface, generator)
        images = []
        for crop in crops:
            changed = image.clone()
            if strength > 0 and "rgb" in channels:
                rgb = channel_slice(channels, "rgb")
                changed[:, :, rgb] = jitter_colours(image[:, :, rgb], surface.mask, strength, generator)
            images.append(crop_images(changed[0], crop, channels, self.rendering.normal_frame))
        return torch.stack(images)
