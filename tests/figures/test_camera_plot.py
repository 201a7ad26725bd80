"""The plot of cameras: frusta against rays, where axes meet, and the picture itself."""

import numpy as np
import pytest
import torch

from mvdecor.figures.cameras import frustum_corners, plot_cameras
from mvdecor.views.cameras import Cameras
from mvdecor.views.placement import look_at, meeting_point, pinhole, sphere_cameras


def test_corners_of_frusta_project_to_the_corners_of_the_picture():
    cameras = sphere_cameras(5, 32, seed=3)
    xy, depth = cameras.project(torch.tensor(frustum_corners(cameras, 0.3), dtype=torch.float32))
    corners = torch.tensor([[0.0, 0], [32, 0], [32, 32], [0, 32]])
    torch.testing.assert_close(xy, corners.expand(5, 4, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(depth, torch.full((5, 4), 0.3), atol=1e-5, rtol=0)


def test_axes_meet_where_the_cameras_look():
    target = torch.tensor([[0.3, -0.2, 0.5]])
    centers = torch.randn(6, 3) * 2
    rotation, translation = look_at(centers, target.expand(6, 3))
    cameras = Cameras(rotation, translation, pinhole(6, 16, 40.0), 16, 16)
    np.testing.assert_allclose(meeting_point(cameras), target[0], atol=1e-5)


@pytest.mark.parametrize("count", [2, 30])
def test_picture_shows_something_and_is_the_same_again(count):
    cameras = sphere_cameras(count, 16, seed=1)
    picture = plot_cameras(cameras, "title", size=150)
    assert picture.shape == (150, 150, 3) and picture.dtype == np.uint8
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    np.testing.assert_array_equal(picture, plot_cameras(cameras, "title", size=150))


def test_parallel_cameras_have_a_picture_too():
    cameras = sphere_cameras(1, 16, seed=1)
    cameras = Cameras.cat([cameras, cameras])
    assert np.isfinite(meeting_point(cameras)).all()
    assert plot_cameras(cameras, size=100).shape == (100, 100, 3)
