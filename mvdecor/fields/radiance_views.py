"""Views of a scene as its radiance field shows them, and its points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.fields.radiance import RadianceField, SceneSpace, SeenRays, see
from mvdecor.views.rays import Rays, depth_of

CHUNK = 65_536
"""Samples that are rendered together."""
OPAQUE = 0.5
"""Opacity from which a ray ends at a point."""


@dataclass(frozen=True)
class SceneViews:
    """What a field shows in n views.

    Attributes:
        images: float32 [n, H, W, 3] in [0, 1].
        depth: float32 [n, H, W], camera z.
        opacity: float32 [n, H, W].
    """

    images: Tensor
    depth: Tensor
    opacity: Tensor


@torch.no_grad()
def render_scene_views(
    field: RadianceField,
    space: SceneSpace,
    capture: Capture,
    views: Sequence[int],
    samples: int,
    background: Tensor | None = None,
) -> SceneViews:
    """Views of a capture, `samples` points per ray; `background` float32 [H, W, 3] stands behind all of them, None: white."""
    height, width = capture.cameras.height, capture.cameras.width
    index = torch.arange(len(views) * height * width)
    images, depth, opacity = [], [], []
    for pixels in index.split(max(1, CHUNK // samples)):
        rays = capture.rays(_pixels(capture, views, pixels))
        seen = _see(field, space, rays, samples, None if background is None else _behind(background, rays))
        images.append(seen.rgb.clamp(0, 1))
        depth.append(depth_of(capture.cameras, rays, seen.distance))
        opacity.append(seen.opacity)
    shape = (len(views), height, width)
    return SceneViews(torch.cat(images).view(*shape, 3), torch.cat(depth).view(shape), torch.cat(opacity).view(shape))


@torch.no_grad()
def scene_points(
    field: RadianceField,
    space: SceneSpace,
    capture: Capture,
    views: Sequence[int],
    samples: int,
    count: int,
    seed: int,
) -> tuple[Tensor, Tensor]:
    """Where random rays of some views end: world positions float32 [P, 3], and colours uint8 [P, 3]; P is at most `count`."""
    total = len(views) * capture.cameras.height * capture.cameras.width
    order = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:count]
    points, colours = [torch.empty(0, 3)], [torch.empty(0, 3)]
    for pixels in order.split(max(1, CHUNK // samples)):
        rays = capture.rays(_pixels(capture, views, pixels))
        seen = _see(field, space, rays, samples)
        ends = seen.opacity > OPAQUE
        points.append((rays.origins + seen.distance[:, None] * rays.directions)[ends])
        colours.append(seen.rgb.clamp(0, 1)[ends])
    return torch.cat(points), (torch.cat(colours) * 255).round().byte()


def _pixels(capture: Capture, views: Sequence[int], pixels: Tensor) -> Tensor:
    """From indices into [len(views), H, W] to those into all views."""
    size = capture.cameras.height * capture.cameras.width
    return torch.tensor(views)[pixels // size] * size + pixels % size


def still_background(capture: Capture, views: Sequence[int]) -> Tensor:
    """float32 [H, W, 3] in [0, 1], each pixel's median over some views: what stands still before a still camera."""
    return (capture.images(views).float() / 255).median(dim=0).values


def _behind(background: Tensor, rays: Rays) -> Tensor:
    colours = background.view(-1, 3)
    return colours[rays.index % len(colours)]


def _see(
    field: RadianceField, space: SceneSpace, rays: Rays, samples: int, background: Tensor | None = None
) -> SeenRays:
    """On the field's device, answers on the CPU."""
    device = next(field.parameters()).device if isinstance(field, torch.nn.Module) else torch.device("cpu")
    behind = None if background is None else background.to(device)
    seen = see(field, space, rays.origins.to(device), rays.directions.to(device), samples, background=behind)
    return SeenRays(*(values.cpu() for values in seen))
