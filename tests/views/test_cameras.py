"""Cameras: axes, pixel centres, projection against rays and against PyTorch3D."""

import math

import pytest
import torch

from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at, sphere_cameras


def wide_camera() -> Cameras:
    """A camera with unequal focal lengths, an off-centre principal point and a wide image."""
    rotation, translation = look_at(torch.tensor([[0.5, 0.3, 2.0]]), torch.tensor([[0.0, 0.1, 0.0]]))
    intrinsics = torch.tensor([[[40.0, 0.0, 30.0], [0.0, 50.0, 20.0], [0.0, 0.0, 1.0]]])
    return Cameras(rotation, translation, intrinsics, height=36, width=64)


@pytest.mark.parametrize("cameras", [sphere_cameras(7, 24, seed=1), wide_camera()], ids=["sphere", "wide"])
def test_points_along_rays_project_to_pixel_centres(cameras: Cameras) -> None:
    depth = 0.5 + 2 * torch.rand(len(cameras), cameras.height, cameras.width, 1)
    points = cameras.centers[:, None, None] + depth * cameras.rays()
    xy, z = cameras.project(points.reshape(len(cameras), -1, 3))
    rows, columns = torch.meshgrid(torch.arange(cameras.height), torch.arange(cameras.width), indexing="ij")
    centres = torch.stack([columns, rows], dim=-1).reshape(1, -1, 2) + 0.5
    torch.testing.assert_close(xy, centres.expand_as(xy), atol=1e-3, rtol=0)
    torch.testing.assert_close(z, depth.reshape(len(cameras), -1), atol=1e-5, rtol=1e-5)


def test_known_points_fall_where_a_hand_calculation_says() -> None:
    rotation, translation = look_at(torch.tensor([[0.0, 0.0, 2.0]]), torch.zeros(1, 3))
    focal = 50 / math.tan(math.radians(30))
    intrinsics = torch.tensor([[[focal, 0, 50], [0, focal, 50], [0, 0, 1]]])
    cameras = Cameras(rotation, translation, intrinsics, 100, 100)
    # world +x is to the right of a camera that looks along -z, world +y is up, so at a smaller row
    xy, z = cameras.project(torch.tensor([[[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.5, 0.0, 1.0]]]))
    step = focal * 0.5 / 2
    torch.testing.assert_close(xy[0], torch.tensor([[50.0, 50], [50 + step, 50], [50, 50 - step], [50 + 2 * step, 50]]))
    torch.testing.assert_close(z[0], torch.tensor([2.0, 2.0, 2.0, 1.0]))


@pytest.mark.parametrize("cameras", [sphere_cameras(5, 24, seed=2), wide_camera()], ids=["sphere", "wide"])
def test_pytorch3d_projects_to_the_same_pixels(cameras: Cameras) -> None:
    pytest.importorskip("pytorch3d")
    points = torch.rand(len(cameras), 50, 3) - 0.5
    xy, _ = cameras.project(points)
    size = torch.tensor([[cameras.height, cameras.width]]).expand(len(cameras), 2)
    theirs = cameras.to_pytorch3d().transform_points_screen(points, image_size=size)[..., :2]
    torch.testing.assert_close(xy, theirs, atol=1e-3, rtol=1e-4)


def test_indexing_and_joining_keep_each_camera_whole() -> None:
    cameras = sphere_cameras(6, 16, seed=3)
    joined = Cameras.cat([cameras[4:], cameras[[0, 1, 2, 3]]])
    order = torch.tensor([4, 5, 0, 1, 2, 3])
    assert torch.equal(joined.rotation, cameras.rotation[order])
    assert torch.equal(joined.translation, cameras.translation[order])
    assert len(joined) == 6 and joined.width == 16
