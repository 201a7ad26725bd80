"""Radiance fields of single scenes: where their space lies, and what rays see of them.

A radiance field gives each point a density and, for a direction, a colour (Mildenhall et al. 2020, section 3). Two are here:
`GridField` and `MLPField`. Both are asked in coordinates of [-1, 1]³ into which `SceneSpace` maps the world.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.errors import InputError
from mvdecor.fields.volume import weights_of
from mvdecor.views.placement import meeting_point

FARTHEST = 100.0
"""Distance at which rays end that leave a contracted scene, in radii."""
SKIPPED = 1e-3
"""Samples whose weight is below this share of the ray's greatest get no colour (TensoRF skips weights below 1e-4)."""


class RadianceField(Protocol):
    """A function of P points in the coordinates of a `SceneSpace`."""

    def density(self, coordinates: Tensor) -> Tensor:
        """float32 [P], at least 0, per radius of the scene, of points float32 [P, 3]."""
        ...

    def colours(self, coordinates: Tensor, directions: Tensor) -> Tensor:
        """float32 [P, 3] in [0, 1], of points that are seen along unit directions float32 [P, 3]."""
        ...


@dataclass(frozen=True)
class SceneSpace:
    """Where a scene lies, and where its rays are sampled.

    Attributes:
        center: world position of the scene's middle.
        radius: what is within this distance of it, along each axis, gets half of the resolution at least.
        contracted: False: there is nothing outside of that box. True: all space outside is contracted around it
            (Barron et al. 2022, equation 10, with the maximum norm): x becomes (2 - 1/|x|) x/|x|.
        near: world distance from the camera at which rays begin.
        far: distance up to which samples are evenly spaced. They end there, or if contracted go on in even disparity.
        beyond: share of the samples that do so, of a contracted space.
    """

    center: tuple[float, float, float]
    radius: float
    contracted: bool
    near: float
    far: float
    beyond: float = 0.5

    @staticmethod
    def of(capture: Capture, bounded: bool, beyond: float = 0.5) -> SceneSpace:
        """The space of a capture: around the point that its cameras look at.

        Args:
            capture: the scene.
            bounded: nothing is modelled but what lies between the capture's bounds. Else everything that is seen; the radius
                is then half the range of the bounds, or without bounds half of the mean distance of the cameras.
            beyond: see `SceneSpace`.

        Raises:
            InputError: `bounded`, but no bounds; cameras that all stand in one place.
        """
        center = meeting_point(capture.cameras)
        distances = torch.linalg.vector_norm(capture.cameras.centers - torch.from_numpy(center).float(), dim=-1)
        mean = float(distances.mean())
        if mean < 1e-6:
            raise InputError(f"capture {capture.id}: all cameras stand in one place: the scene has no depth for them")
        if capture.near is None or capture.far is None:
            if bounded:
                raise InputError(f"capture {capture.id}: it has no near and far bounds: give capture.bounds=[near,far]")
            bounds = 0.1 * float(distances.min()), float(distances.max()) + 0.5 * mean
            return SceneSpace(_point(center), 0.5 * mean, True, *bounds, beyond)
        near, far = float(capture.near.min()), float(capture.far.max())
        if bounded:
            return SceneSpace(_point(center), 0.5 * (far - near), False, near, far)
        return SceneSpace(_point(center), 0.5 * (far - near), True, 0.5 * near, far, beyond)

    def coordinates(self, points: Tensor) -> Tensor:
        """World points [..., 3] as coordinates; outside of [-1, 1]³ there is nothing."""
        scaled = (points - points.new_tensor(self.center)) / self.radius
        if not self.contracted:
            return scaled
        norm = scaled.abs().amax(dim=-1, keepdim=True).clamp_min(1.0)
        return scaled * (2 - 1 / norm) / norm / 2

    def distances(
        self, rays: int, samples: int, jitter: bool, device: torch.device | str = "cpu"
    ) -> tuple[Tensor, Tensor]:
        """World distances of points along rays, ascending, and the lengths of their intervals: float32 [rays, samples].

        Each lies in an interval of its own: at a random place with `jitter`, else in the middle. Of a contracted space those
        that are not `beyond` are before `far`.
        """
        offset: Tensor | float = torch.rand(rays, samples, device=device) if jitter else 0.5
        edges = self._edges(samples).to(device)
        lengths = (edges[1:] - edges[:-1]).expand(rays, samples)
        return edges[:-1] + offset * lengths, lengths

    def _edges(self, samples: int) -> Tensor:
        if not self.contracted:
            return torch.linspace(self.near, self.far, samples + 1)
        inner = min(samples - 1, math.ceil((1 - self.beyond) * samples))
        disparity = torch.linspace(1 / self.far, 1 / (self.far + FARTHEST * self.radius), samples - inner + 1)
        return torch.cat([torch.linspace(self.near, self.far, inner + 1), 1 / disparity[1:]])


class SeenRays(NamedTuple):
    """What R rays with S samples each see.

    Attributes:
        rgb: float32 [R, 3] in [0, 1], over the background.
        opacity: float32 [R].
        distance: float32 [R], see `median_distance`.
        weights: float32 [R, S], share of the light that each sample stops.
        coordinates: float32 [R, S, 3], of the samples.
        seen: bool [R, S], samples that have a colour.
        colours: float32 [number of seen samples, 3].
    """

    rgb: Tensor
    opacity: Tensor
    distance: Tensor
    weights: Tensor
    coordinates: Tensor
    seen: Tensor
    colours: Tensor


def stopped(
    field: RadianceField, space: SceneSpace, origins: Tensor, directions: Tensor, samples: int, jitter: bool = False
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where rays are sampled, and what share of their light each sample stops; the density alone is asked. See `see`.

    Returns:
        world distances float32 [R, S], coordinates float32 [R, S, 3], whether they lie in the space bool [R, S], weights
        float32 [R, S].
    """
    distances, lengths = space.distances(len(origins), samples, jitter, origins.device)
    coordinates = space.coordinates(origins[:, None] + distances[..., None] * directions[:, None])
    inside = (coordinates.abs() <= 1).all(dim=-1)
    density = torch.zeros_like(distances).masked_scatter(inside, field.density(coordinates[inside]))
    return distances, coordinates, inside, weights_of(density, lengths / space.radius)


def see(
    field: RadianceField,
    space: SceneSpace,
    origins: Tensor,
    directions: Tensor,
    samples: int,
    jitter: bool = False,
    background: Tensor | None = None,
    skipped: float = SKIPPED,
) -> SeenRays:
    """Volume-render rays.

    Args:
        field: of the scene.
        space: of the scene.
        origins, directions: float32 [R, 3], world, directions of unit length.
        samples: S, per ray.
        jitter: sample at random places of the intervals.
        background: float32 [R, 3], what stands behind the scene; None: white.
        skipped: see `SKIPPED`; 0 colours every sample.
    """
    distances, coordinates, inside, weights = stopped(field, space, origins, directions, samples, jitter)
    opacity = weights.sum(dim=-1)
    greatest = weights.detach().amax(dim=-1, keepdim=True)
    seen = inside & (weights.detach() >= skipped * greatest)
    colours = field.colours(coordinates[seen], directions[:, None].expand_as(coordinates)[seen])
    contributions = torch.zeros_like(coordinates).masked_scatter(seen[..., None], weights[seen][:, None] * colours)
    behind = 1.0 if background is None else background
    rgb = contributions.sum(dim=1) + (1 - opacity[:, None]) * behind
    distance = median_distance(weights, distances)
    return SeenRays(rgb, opacity, distance, weights, coordinates, seen, colours)


def median_distance(weights: Tensor, distances: Tensor) -> Tensor:
    """float32 [R], where half of the light that a ray loses is lost; of rays that lose less than half of it the farthest.

    The mean would follow a thin haze, or the little light that reaches the far end of a contracted scene.

    Args:
        weights, distances: float32 [R, S], of the samples.
    """
    lost = weights.cumsum(dim=-1)
    middle = (lost >= lost[:, -1:] / 2).int().argmax(dim=-1, keepdim=True)
    return torch.where(lost[:, -1] >= 0.5, distances.gather(1, middle)[:, 0], distances[:, -1])


def colour_loss(rays: SeenRays, rgb: Tensor) -> Tensor:
    """Mean over rays of the squared error of each sample's colour, weighted (per-point colour loss of Sun et al. 2022).

    Every point then takes the colour of the pixels that see it. Where views disagree, nothing stands: less fog.
    """
    target = rgb[:, None].expand(*rays.seen.shape, 3)[rays.seen]
    error = (rays.colours - target).square().mean(dim=-1)
    return (rays.weights[rays.seen].detach() * error).sum() / len(rgb)


def _point(values: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
