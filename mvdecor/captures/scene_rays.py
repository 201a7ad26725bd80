"""Random rays of one capture whose pixels stay in memory: what fields of single scenes are fitted to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.captures.ray_batches import OPAQUE
from mvdecor.seeds import seed_of
from mvdecor.views.rays import rays_of


@dataclass(frozen=True)
class SceneRays:
    """R rays and what their pixels show.

    Attributes:
        origins, directions: float32 [R, 3], world frame, directions of unit length.
        rgb: float32 [R, 3] in [0, 1].
        place: int64 [R], pixel of each ray within its picture, an index into [H, W] flattened.
        shape_ids: the capture, for messages.
        views: none are named: the rays are of all.
        share: of the rays of the step's batch, of which another process may have others.
    """

    origins: Tensor
    directions: Tensor
    rgb: Tensor
    place: Tensor
    shape_ids: tuple[str, ...]
    views: tuple[tuple[int, ...], ...] = ((),)
    share: float = 1.0

    def to(self, device: torch.device | str) -> SceneRays:
        """The same rays with their tensors on `device`."""
        tensors = {name: getattr(self, name).to(device) for name in ("origins", "directions", "rgb", "place")}
        return replace(self, **tensors)


class SceneRaySource:
    """Batches of random rays of some views of one capture.

    All pixels of the views are read at once and stay in memory, 3 bytes each.

    Args:
        capture: the scene.
        views: views to choose from.
        rays: per batch.
        foreground: share of the rays that see the object, where alpha or masks say what that is.
    """

    def __init__(self, capture: Capture, views: Sequence[int], rays: int, foreground: float = 0.0) -> None:
        self.id, self.cameras = capture.id, capture.cameras[list(views)]
        self.rgb = capture.images(views).view(-1, 3)
        self.count = rays
        alpha = capture.alpha(views) if foreground > 0 else None
        self.object_pixels = None if alpha is None else (alpha.view(-1) >= OPAQUE).nonzero()[:, 0]
        self.inside = 0 if self.object_pixels is None or not len(self.object_pixels) else round(rays * foreground)

    def __len__(self) -> int:
        return self.count

    def sample(self, seed: int, step: int, positions: range | None = None) -> SceneRays:
        """The batch of a step, or the rays of it at some `positions`."""
        generator = torch.Generator().manual_seed(seed_of(seed, "rays of a scene", step))
        pixels = torch.randint(len(self.rgb), (self.count,), generator=generator)
        if self.inside and self.object_pixels is not None:
            pixel = torch.randint(len(self.object_pixels), (self.inside,), generator=generator)
            pixels[torch.randperm(self.count, generator=generator)[: self.inside]] = self.object_pixels[pixel]
        pixels = pixels if positions is None else pixels[list(positions)]
        rays = rays_of(self.cameras, pixels)
        rgb = self.rgb[pixels].float() / 255
        place = pixels % (self.cameras.height * self.cameras.width)
        return SceneRays(rays.origins, rays.directions, rgb, place, (self.id,), share=len(pixels) / self.count)
