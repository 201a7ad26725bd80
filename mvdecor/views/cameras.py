"""Pinhole and scaled orthographic cameras in OpenCV axes, and their conversion from and to the axes and poses of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from mvdecor.errors import InputError

if TYPE_CHECKING:
    from pytorch3d.renderer import OrthographicCameras, PerspectiveCameras

CAMERA_AXES: dict[str, tuple[tuple[int, int, int], ...]] = {
    "opencv": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),  # x right, y down, z forward: COLMAP, SRN, NSVF, and this package
    "opengl": ((1, 0, 0), (0, -1, 0), (0, 0, -1)),  # x right, y up, z back: Blender, instant-ngp, nerfstudio
    "llff": ((0, 1, 0), (1, 0, 0), (0, 0, -1)),  # x down, y right, z back
    "pytorch3d": ((-1, 0, 0), (0, -1, 0), (0, 0, 1)),  # x left, y up, z forward
}
"""For each convention its x, y and z axis in OpenCV's."""
HUGE = 1e30  # greater numbers in a file are damage, and would not survive float32
NO_ROTATION = 1e-3  # greatest entry of R R^T - 1 that rounding in a text file explains


@dataclass(frozen=True)
class Cameras:
    """N cameras that share an image size: pinholes, or scaled orthographic ones.

    `x_cam = rotation @ x_world + translation`; OpenCV axes (x right, y down, z forward). Pixel (row i, column j) has its
    centre at image position (x, y) = (j + 0.5, i + 0.5). A pinhole divides x_cam by its z; an orthographic camera does not, so
    its image is the same from any distance, but it sees only what has z > 0.

    Attributes:
        rotation: float32 [N, 3, 3], world to camera.
        translation: float32 [N, 3].
        intrinsics: float32 [N, 3, 3], in pixels: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]; orthographic: fx, fy in pixels per
            unit of the world.
        height: rows of the image.
        width: columns of the image.
        orthographic: False for pinholes.
    """

    rotation: Tensor
    translation: Tensor
    intrinsics: Tensor
    height: int
    width: int
    orthographic: bool = False

    def __post_init__(self) -> None:
        n = self.rotation.shape[0]
        assert self.rotation.shape == (n, 3, 3), f"rotation [N, 3, 3], got {list(self.rotation.shape)}"
        assert self.translation.shape == (n, 3), f"translation [N, 3], got {list(self.translation.shape)}"
        assert self.intrinsics.shape == (n, 3, 3), f"intrinsics [N, 3, 3], got {list(self.intrinsics.shape)}"

    def __len__(self) -> int:
        return int(self.rotation.shape[0])

    def __getitem__(self, index: slice | Tensor | list[int]) -> Cameras:
        """The cameras at `index` (a slice, a list or an index tensor)."""
        index = on_device(index, self.rotation.device)
        return replace(
            self,
            rotation=self.rotation[index],
            translation=self.translation[index],
            intrinsics=self.intrinsics[index],
        )

    @property
    def centers(self) -> Tensor:
        """float32 [N, 3], positions of the cameras in the world: the points of x_cam = 0."""
        return -(self.rotation.transpose(1, 2) @ self.translation[..., None])[..., 0]

    def rays(self) -> Tensor:
        """float32 [N, H, W, 3]: world directions through the pixel centres, scaled so that camera z is 1.

        A surface point is `origins_at + depth * rays`, where depth is the point's camera z.
        """
        if self.orthographic:
            return self.rotation[:, None, None, 2].expand(-1, self.height, self.width, -1)
        device = self.rotation.device
        y, x = torch.meshgrid(
            torch.arange(self.height, device=device) + 0.5, torch.arange(self.width, device=device) + 0.5, indexing="ij"
        )
        fx, fy = self.intrinsics[:, 0, 0, None, None], self.intrinsics[:, 1, 1, None, None]
        cx, cy = self.intrinsics[:, 0, 2, None, None], self.intrinsics[:, 1, 2, None, None]
        directions = torch.stack([(x - cx) / fx, (y - cy) / fy, torch.ones_like(x).expand(len(self), -1, -1)], dim=-1)
        return torch.einsum("nji,nhwj->nhwi", self.rotation, directions)

    def ray_steps(self) -> Tensor:
        """float32 [N, 3, 3]: world vectors across, down, first; a pinhole's ray through (x, y) is x across + y down + first.

        For an orthographic camera it is the ray's origin, seen from the camera's position, that this sum gives.
        """
        across = self.rotation[:, 0] / self.intrinsics[:, 0, 0, None]
        down = self.rotation[:, 1] / self.intrinsics[:, 1, 1, None]
        forward = torch.zeros_like(across) if self.orthographic else self.rotation[:, 2]
        first = forward - self.intrinsics[:, 0, 2, None] * across - self.intrinsics[:, 1, 2, None] * down
        return torch.stack([across, down, first], dim=1)

    def rays_at(self, view: Tensor, pixel: Tensor) -> Tensor:
        """float32 [Q, 3]: those of `rays` at some pixels (int64 [Q], indices into [H, W] flattened) of some views [Q]."""
        if self.orthographic:
            return self.rotation[:, 2].index_select(0, view)
        return self._steps_to(view, pixel)

    def origins_at(self, view: Tensor, pixel: Tensor) -> Tensor:
        """float32 [Q, 3]: where the rays of some pixels of some views (see `rays_at`) begin, at camera z 0."""
        centers = self.centers.index_select(0, view)
        return centers + self._steps_to(view, pixel) if self.orthographic else centers

    def _steps_to(self, view: Tensor, pixel: Tensor) -> Tensor:
        x, y = (pixel % self.width + 0.5)[:, None], (pixel // self.width + 0.5)[:, None]
        across, down, first = (vector.index_select(0, view) for vector in self.ray_steps().unbind(1))
        return torch.addcmul(torch.addcmul(first, x, across), y, down)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Image positions and camera depths of world points.

        Args:
            points: float32 [N, P, 3], P world points for each of the N cameras.

        Returns:
            float32 [N, P, 2], image positions (x, y) in pixels, and float32 [N, P], camera z. Points at or behind the
            camera plane have z <= 0; a pinhole gives them a meaningless position.
        """
        cam = torch.baddbmm(self.translation[:, None], points, self.rotation.transpose(1, 2))
        z = cam[..., 2]
        focal = torch.stack([self.intrinsics[:, 0, 0], self.intrinsics[:, 1, 1]], dim=-1)
        xy = cam[..., :2] if self.orthographic else cam[..., :2] / z.clamp_min(1e-9)[..., None]
        return xy * focal[:, None] + self.intrinsics[:, None, :2, 2], z

    def poses(self, axes: str = "opencv") -> NDArray[np.float64]:
        """float64 [N, 4, 4], camera to world, for a camera with the `axes` of `CAMERA_AXES`."""
        poses = np.tile(np.eye(4), (len(self), 1, 1))
        rotation = self.rotation.double().cpu().numpy()
        poses[:, :3, :3] = rotation.transpose(0, 2, 1) @ _axes(axes).T
        poses[:, :3, 3] = -np.einsum("nji,nj->ni", rotation, self.translation.double().cpu().numpy())
        return poses

    @staticmethod
    def from_poses(
        poses: ArrayLike,
        intrinsics: ArrayLike,
        height: int,
        width: int,
        axes: str = "opencv",
        sources: Sequence[str] = (),
    ) -> Cameras:
        """The cameras of camera-to-world matrices.

        Args:
            poses: [N, 4, 4], camera to world; the camera has the `axes` of `CAMERA_AXES`.
            intrinsics: [N, 3, 3], see `Cameras`.
            height, width: size of the images.
            axes: a name of `CAMERA_AXES`.
            sources: where each pose comes from (file and place), for messages.

        Raises:
            InputError: a pose that is not finite, has another last row than 0 0 0 1, is no rotation (scaled, sheared), or is
                mirrored, so that one of its two frames is left-handed; or one so far from the origin that float32 blurs it.
        """
        matrices = np.asarray(poses, dtype=np.float64).reshape(-1, 4, 4)
        names = sources or [f"pose {i}" for i in range(len(matrices))]
        for matrix, name in zip(matrices, names, strict=True):
            _check_pose(matrix, name)
        _check_origin(matrices[:, :3, 3], names)
        rotation = (matrices[:, :3, :3] @ _axes(axes)).transpose(0, 2, 1)
        translation = -np.einsum("nij,nj->ni", rotation, matrices[:, :3, 3])
        r, t, k = (
            torch.from_numpy(np.array(values, dtype=np.float32)) for values in (rotation, translation, intrinsics)
        )
        return Cameras(r, t, k, height, width)

    def reduced(self, factor: int) -> Cameras:
        """The cameras of the same images with `factor` x `factor` pixels averaged into one; both sides must be multiples."""
        assert self.height % factor == 0 and self.width % factor == 0, "the factor must divide height and width"
        scale = self.intrinsics.new_tensor([1 / factor, 1 / factor, 1.0])[:, None]
        height, width = self.height // factor, self.width // factor
        return replace(self, intrinsics=self.intrinsics * scale, height=height, width=width)

    def to(self, device: torch.device | str) -> Cameras:
        """The same cameras with their tensors on `device`."""
        return replace(
            self,
            rotation=self.rotation.to(device),
            translation=self.translation.to(device),
            intrinsics=self.intrinsics.to(device),
        )

    @staticmethod
    def cat(cameras: list[Cameras]) -> Cameras:
        """All the cameras of a list (of one image size and one kind) as one."""
        assert len({(c.height, c.width, c.orthographic) for c in cameras}) == 1, (
            "cameras of different image sizes or kinds"
        )
        return replace(
            cameras[0],
            rotation=torch.cat([c.rotation for c in cameras]),
            translation=torch.cat([c.translation for c in cameras]),
            intrinsics=torch.cat([c.intrinsics for c in cameras]),
        )

    @staticmethod
    def scaled_orthographic(
        rotation: Tensor, scale: Tensor, shift: Tensor, height: int, width: int, distance: float = 10.0
    ) -> Cameras:
        """Orthographic cameras by scale and shift: image position (x, y) = scale (rotation x_world)_xy + shift, in pixels.

        Args:
            rotation: float32 [N, 3, 3], world to camera.
            scale: float32 [N], pixels per unit of the world.
            shift: float32 [N, 2], image position of the world's origin, pixels.
            height, width: size of the images.
            distance: camera z of the world's origin; what lies farther than this in front of it is not seen.
        """
        translation = torch.tensor([0.0, 0.0, distance], device=scale.device).expand(len(scale), 3)
        intrinsics = torch.diag_embed(torch.stack([scale, scale, torch.ones_like(scale)], dim=1))
        intrinsics = torch.cat(
            [intrinsics[:, :, :2], torch.nn.functional.pad(shift, (0, 1), value=1.0)[..., None]], dim=2
        )
        return Cameras(rotation, translation, intrinsics, height, width, orthographic=True)

    def to_pytorch3d(self) -> PerspectiveCameras | OrthographicCameras:
        """As PyTorch3D cameras (its x points left, its y up)."""
        from pytorch3d.renderer import OrthographicCameras
        from pytorch3d.utils import cameras_from_opencv_projection

        size = torch.tensor([[self.height, self.width]], device=self.rotation.device).expand(len(self), 2)
        pinholes = cameras_from_opencv_projection(self.rotation, self.translation, self.intrinsics, size)
        if not self.orthographic:
            return pinholes
        return OrthographicCameras(
            R=pinholes.R,
            T=pinholes.T,
            focal_length=pinholes.focal_length,
            principal_point=pinholes.principal_point,
            image_size=size,
            device=self.rotation.device,
        )


def _axes(name: str) -> NDArray[np.float64]:
    """[3, 3], rows are the axes of a convention in OpenCV's."""
    if name not in CAMERA_AXES:
        raise InputError(f"camera axes {name!r} are unknown: choose one of {', '.join(CAMERA_AXES)}")
    return np.array(CAMERA_AXES[name], dtype=np.float64)


def _check_pose(matrix: NDArray[np.float64], source: str) -> None:
    rotation = matrix[:3, :3]
    if not (np.abs(matrix) < HUGE).all():
        raise InputError(f"{source}: the pose has values that are not finite: estimate it again or leave the image out")
    if np.abs(matrix[3] - (0, 0, 0, 1)).max() > NO_ROTATION:
        raise InputError(
            f"{source}: the last row of the pose is {matrix[3].tolist()} instead of 0 0 0 1: give a camera-to-world matrix, "
            "row by row"
        )
    if np.abs(rotation @ rotation.T - np.eye(3)).max() > NO_ROTATION:
        lengths = ", ".join(f"{length:.4g}" for length in np.linalg.norm(rotation, axis=0))
        raise InputError(
            f"{source}: the pose is no rotation (its columns have the lengths {lengths}): divide the scale out, and give "
            "perpendicular axes"
        )
    if np.linalg.det(rotation) < 0:
        raise InputError(
            f"{source}: the pose mirrors (its determinant is -1), so the camera or the world has left-handed axes: negate "
            "the column of the camera axis that points the wrong way, or, for a left-handed world (Unity, Unreal), one row "
            "of every pose"
        )


def _check_origin(centers: NDArray[np.float64], sources: Sequence[str]) -> None:
    """Positions must survive float32: no coordinate may be 100 000 times the extent of all cameras."""
    if len(centers) < 2:
        return
    extent = np.ptp(centers, axis=0).max()
    farthest = int(np.abs(centers).max(axis=1).argmax())
    if extent > 0 and np.abs(centers[farthest]).max() > 1e5 * extent:
        raise InputError(
            f"{sources[farthest]}: the camera is {np.abs(centers[farthest]).max():.3g} from the origin and all cameras lie "
            f"within {extent:.3g}: subtract a common offset from all positions"
        )


def on_device(index: slice | Tensor | list[int], device: torch.device) -> slice | Tensor:
    """An index for tensors on a device, which does not wait for the device as a list would."""
    return torch.tensor(index).to(device, non_blocking=True) if isinstance(index, list) else index
