"""Pinhole cameras in OpenCV axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pytorch3d.renderer import PerspectiveCameras


@dataclass(frozen=True)
class Cameras:
    """N pinhole cameras that share an image size.

    `x_cam = rotation @ x_world + translation`; OpenCV axes (x right, y down, z forward). Pixel (row i, column j) has its
    centre at image position (x, y) = (j + 0.5, i + 0.5).

    Attributes:
        rotation: float32 [N, 3, 3], world to camera.
        translation: float32 [N, 3].
        intrinsics: float32 [N, 3, 3], in pixels: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]].
        height: rows of the image.
        width: columns of the image.
    """

    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    height: int
    width: int

    def __post_init__(self) -> None:
        n = self.rotation.shape[0]
        assert self.rotation.shape == (n, 3, 3), f"rotation [N, 3, 3], got {list(self.rotation.shape)}"
        assert self.translation.shape == (n, 3), f"translation [N, 3], got {list(self.translation.shape)}"
        assert self.intrinsics.shape == (n, 3, 3), f"intrinsics [N, 3, 3], got {list(self.intrinsics.shape)}"

    def __len__(self) -> int:
        return int(self.rotation.shape[0])

    def __getitem__(self, index: slice | Tensor | list[int]) -> Cameras:
        """The cameras at `index` (a slice, a list or an index tensor)."""
        return Cameras(self.rotation[index], self.translation[index], self.intrinsics[index], self.height, self.width)

    @property
    def centers(self) -> Tensor:
        """float32 [N, 3], positions of the cameras in the world."""
        return -(self.rotation.transpose(1, 2) @ self.translation[..., None])[..., 0]

    def rays(self) -> Tensor:
        """float32 [N, H, W, 3]: world directions through the pixel centres, scaled so that camera z is 1.

        A surface point is `centers + depth * rays`, where depth is the point's camera z.
        """
        device = self.rotation.device
        y, x = torch.meshgrid(
            torch.arange(self.height, device=device) + 0.5, torch.arange(self.width, device=device) + 0.5, indexing="ij"
        )
        fx, fy = self.intrinsics[:, 0, 0, None, None], self.intrinsics[:, 1, 1, None, None]
        cx, cy = self.intrinsics[:, 0, 2, None, None], self.intrinsics[:, 1, 2, None, None]
        directions = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x).expand(len(self), -1, -1)], dim=-1)
        return torch.einsum("nji,nhwj->nhwi", self.rotation, directions)

    def ray_steps(self) -> Tensor:
        """float32 [N, 3, 3]: world vectors across, down, first; the ray through (x, y) is x across + y down + first."""
        across = self.rotation[:, 0] / self.intrinsics[:, 0, 0, None]
        down = self.rotation[:, 1] / self.intrinsics[:, 1, 1, None]
        first = self.rotation[:, 2] - self.intrinsics[:, 0, 2, None] * across - self.intrinsics[:, 1, 2, None] * down
        return torch.stack([across, down, first], dim=1)

    def rays_at(self, view: Tensor, pixel: Tensor) -> Tensor:
        """float32 [Q, 3]: those of `rays` at some pixels (int64 [Q], indices into [H, W] flattened) of some views [Q]."""
        x, y = (pixel % self.width + 0.5)[:, None], (pixel // self.width + 0.5)[:, None]
        across, down, first = (vector.index_select(0, view) for vector in self.ray_steps().unbind(1))
        return torch.addcmul(torch.addcmul(first, x, across), y, down)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Image positions and camera depths of world points.

        Args:
            points: float32 [N, P, 3], P world points for each of the N cameras.

        Returns:
            float32 [N, P, 2], image positions (x, y) in pixels, and float32 [N, P], camera z. Points at or behind the
            camera plane have z <= 0 and a meaningless position.
        """
        cam = torch.baddbmm(self.translation[:, None], points, self.rotation.transpose(1, 2))
        z = cam[..., 2]
        focal = torch.stack([self.intrinsics[:, 0, 0], self.intrinsics[:, 1, 1]], dim=-1)
        xy = cam[..., :2] / z.clamp_min(1e-9)[..., None] * focal[:, None] + self.intrinsics[:, None, :2, 2]
        return xy, z

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras with their tensors on `device`."""
        return Cameras(
            self.rotation.to(device), self.translation.to(device), self.intrinsics.to(device), self.height, self.width
        )

    @staticmethod
    def cat(cameras: list[Cameras]) -> Cameras:
        """All the cameras of a list (of one image size) as one."""
        assert len({(c.height, c.width) for c in cameras}) == 1, "cameras of different image sizes"
        return Cameras(
            torch.cat([c.rotation for c in cameras]),
            torch.cat([c.translation for c in cameras]),
            torch.cat([c.intrinsics for c in cameras]),
            cameras[0].height,
            cameras[0].width,
        )

    def to_pytorch3d(self) -> PerspectiveCameras:
        """As PyTorch3D cameras (its x points left, its y up): the only place where the conventions meet."""
        from pytorch3d.utils import cameras_from_opencv_projection

        size = torch.tensor([[self.height, self.width]], device=self.rotation.device).expand(len(self), 2)
        return cameras_from_opencv_projection(self.rotation, self.translation, self.intrinsics, size)
