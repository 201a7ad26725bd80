"""The samples of each ray that stop most of its light: all that a frozen density leaves to be known of the rays of a scene."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.fields.radiance import RadianceField, SceneSpace, median_distance, stopped
from mvdecor.fields.radiance_views import CHUNK
from mvdecor.views.rays import Rays, depth_of

BYTES = 6
"""Memory of a sample: its number and its weight."""


@dataclass(frozen=True)
class StrongestSamples:
    """Of all P pixels of some views of a capture the K strongest samples of the ray; exactly 6 K bytes per ray, and 4 of depth.

    Where a sample lies follows from its number and the ray, so that its place need not be kept.

    Attributes:
        capture, views: whose rays: n of its views.
        space: of the scene.
        samples: S, per ray, of which these are the strongest.
        numbers: int16 [P, K], the strongest first.
        weights: float32 [P, K], share of the light that each stops.
        depth: float32 [n, H, W], camera z of where the ray ends, of all S samples.
        lost: mean share of a ray's stopped light that the other S - K samples stop.
    """

    capture: Capture
    views: tuple[int, ...]
    space: SceneSpace
    samples: int
    numbers: Tensor
    weights: Tensor
    depth: Tensor
    lost: float

    @property
    def bytes(self) -> int:
        """Memory of numbers, weights and depth."""
        return sum(x.element_size() * x.numel() for x in (self.numbers, self.weights, self.depth))

    def at(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Coordinates float32 [R, K, 3] and weights float32 [R, K] of pixels, int64 [R] into [n, H, W] flattened."""
        rays = self.rays(pixels)
        distances, _ = self.space.distances(1, self.samples, False)
        distance = distances[0][self.numbers[pixels].long()]
        points = rays.origins[:, None] + distance[..., None] * rays.directions[:, None]
        return self.space.coordinates(points), self.weights[pixels]

    def opacity(self, pixels: Tensor) -> Tensor:
        """float32 [R], share of the light of the rays of pixels that is stopped by their strongest samples."""
        return self.weights[pixels].sum(dim=-1)

    def points(self, pixels: Tensor | None = None) -> Tensor:
        """World points float32 [R, 3] where the rays of pixels end (all if None)."""
        pixels = torch.arange(self.depth.numel()) if pixels is None else pixels
        rays = self.rays(pixels)
        scale = depth_of(self.capture.cameras, rays, torch.ones(len(pixels)))
        return rays.origins + (self.depth.flatten()[pixels] / scale)[:, None] * rays.directions

    def rays(self, pixels: Tensor) -> Rays:
        """The rays of pixels as in `at`."""
        size = self.capture.cameras.height * self.capture.cameras.width
        return self.capture.rays(torch.tensor(self.views)[pixels // size] * size + pixels % size)


@torch.no_grad()
def strongest_samples(
    field: RadianceField, space: SceneSpace, capture: Capture, views: Sequence[int], samples: int, count: int
) -> StrongestSamples:
    """Look along every ray of some views once.

    Args:
        field: of the scene; its density alone is asked.
        space: of the scene.
        capture: whose rays.
        views: n of its views.
        samples: S, per ray, in the middle of their intervals.
        count: K; at most S.
    """
    height, width = capture.cameras.height, capture.cameras.width
    count, size = min(count, samples), height * width
    total = len(views) * size
    numbers, weights = torch.empty(total, count, dtype=torch.int16), torch.empty(total, count)
    depth, kept_light, stopped_light = torch.empty(total), 0.0, 0.0
    device = next(field.parameters()).device if isinstance(field, torch.nn.Module) else torch.device("cpu")
    for pixels in torch.arange(total).split(max(1, CHUNK // samples)):
        rays = capture.rays(torch.tensor(list(views))[pixels // size] * size + pixels % size)
        seen = stopped(field, space, rays.origins.to(device), rays.directions.to(device), samples)
        distances, all_weights = seen[0].cpu(), seen[3].cpu()
        strongest = all_weights.topk(count, dim=-1)
        numbers[pixels], weights[pixels] = strongest.indices.to(torch.int16), strongest.values
        depth[pixels] = depth_of(capture.cameras, rays, median_distance(all_weights, distances))
        kept_light, stopped_light = kept_light + float(strongest.values.sum()), stopped_light + float(all_weights.sum())
    lost = 1 - kept_light / max(stopped_light, 1e-12)
    shape = (len(views), height, width)
    return StrongestSamples(capture, tuple(views), space, samples, numbers, weights, depth.view(shape), lost)
