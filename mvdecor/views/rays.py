"""Rays of pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.views.cameras import Cameras


@dataclass(frozen=True)
class Rays:
    """R rays in the world frame, each through the centre of a pixel: from the camera's centre, or from its plane z = 0.

    Attributes:
        origins: float32 [R, 3].
        directions: float32 [R, 3], of unit length: `origins + t * directions` lies at distance t from the camera.
        index: int64 [R], the pixel of each ray, an index into the cameras' pixels [N, H, W] flattened.
    """

    origins: Tensor
    directions: Tensor
    index: Tensor

    def __post_init__(self) -> None:
        assert self.index.dtype == torch.int64 and self.index.ndim == 1, "index must be int64 [R]"
        shape = (len(self.index), 3)
        assert self.origins.shape == shape and self.directions.shape == shape, "origins and directions must be [R, 3]"

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, index: slice | Tensor) -> Rays:
        """The rays at `index` (a slice, an index tensor or a mask)."""
        return Rays(self.origins[index], self.directions[index], self.index[index])

    def to(self, device: torch.device | str) -> Rays:
        """The same rays with their tensors on `device`."""
        return Rays(self.origins.to(device), self.directions.to(device), self.index.to(device))


def rays_of(cameras: Cameras, index: Tensor | None = None) -> Rays:
    """The rays through the centres (j + 0.5, i + 0.5) of pixels.

    Args:
        cameras: N cameras of H x W pixels.
        index: int64 [R] into [N, H, W] flattened, on the cameras' device; None: every pixel.
    """
    pixels = cameras.height * cameras.width
    if index is None:
        index = torch.arange(len(cameras) * pixels, device=cameras.rotation.device)
    view = index // pixels
    directions = normalize(cameras.rays_at(view, index % pixels), dim=-1)
    return Rays(cameras.origins_at(view, index % pixels), directions, index)


def depth_of(cameras: Cameras, rays: Rays, distance: Tensor) -> Tensor:
    """float32 [R], camera z (the depth of `Surface`) of the points at a distance [R] along rays."""
    forward = cameras.rotation[:, 2].index_select(0, rays.index // (cameras.height * cameras.width))
    return distance * (rays.directions * forward).sum(dim=-1)
