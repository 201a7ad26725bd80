"""Poses in the axes of others: against hand calculations and PyTorch3D, round trips, and poses that are none."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from mvdecor.errors import InputError
from mvdecor.views.cameras import CAMERA_AXES, Cameras
from mvdecor.views.placement import sphere_cameras

INTRINSICS = np.array([[[40.0, 0, 16], [0, 40, 12], [0, 0, 1]]])


def cameras_of(pose: np.ndarray, axes: str = "opencv") -> Cameras:
    return Cameras.from_poses(pose[None], INTRINSICS, 24, 32, axes, ["poses.txt, line 1"])


@pytest.mark.parametrize(
    ("axes", "columns"),
    [  # of a camera that looks along world +x with world +z up, so that world -y is to its right
        ("opencv", [(0, -1, 0), (0, 0, -1), (1, 0, 0)]),
        ("opengl", [(0, -1, 0), (0, 0, 1), (-1, 0, 0)]),
        ("llff", [(0, 0, -1), (0, -1, 0), (-1, 0, 0)]),
        ("pytorch3d", [(0, 1, 0), (0, 0, 1), (1, 0, 0)]),
    ],
)
def test_known_points_fall_where_a_hand_calculation_says(axes, columns):
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = np.array(columns).T, (1, 2, 3)
    xy, depth = cameras_of(pose, axes).project(torch.tensor([[[5.0, 2, 3], [5, 1, 3], [5, 2, 4]]]))
    torch.testing.assert_close(xy[0], torch.tensor([[16.0, 12], [26, 12], [16, 2]]))
    torch.testing.assert_close(depth[0], torch.full((3,), 4.0))


def test_axes_are_proper_rotations_of_each_other():
    for axes in CAMERA_AXES.values():
        assert np.linalg.det(np.array(axes)) == pytest.approx(1)


def test_poses_for_pytorch3d_are_those_of_its_cameras():
    pytest.importorskip("pytorch3d")
    cameras = sphere_cameras(5, 16, seed=1)
    to_world = cameras.to_pytorch3d().get_world_to_view_transform().inverse().get_matrix().transpose(1, 2)
    np.testing.assert_allclose(cameras.poses("pytorch3d"), to_world.numpy(), atol=1e-5)


@given(
    rotation=st.integers(0, 10_000),
    center=st.tuples(*[st.floats(-100, 100, width=32)] * 3),
    axes=st.sampled_from(sorted(CAMERA_AXES)),
)
def test_pose_survives_the_way_there_and_back(rotation, center, axes):
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=rotation).as_matrix()
    pose[:3, 3] = center
    back = cameras_of(pose, axes).poses(axes)[0]
    np.testing.assert_allclose(back[:3, :3], pose[:3, :3], atol=1e-6)
    np.testing.assert_allclose(back[:3, 3], pose[:3, 3], atol=1e-6 * max(1, np.abs(center).max()) * 2)


def changed(rotation: np.ndarray | None = None, **entries: float) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3] = np.eye(3) if rotation is None else rotation
    for place, value in entries.items():
        pose[int(place[1]), int(place[2])] = value
    return pose


@pytest.mark.parametrize(
    ("pose", "words"),
    [
        (changed(1.5 * np.eye(3)), ("no rotation", "1.5, 1.5, 1.5")),
        (changed(_01=0.2), ("no rotation",)),
        (changed(np.diag([1.0, 1, -1])), ("mirrors", "left-handed", "negate")),
        (changed(_03=np.nan), ("not finite",)),
        (changed(_30=4.0, _03=0.0), ("last row", "camera-to-world")),
    ],
)
def test_what_is_no_pose_is_refused(pose, words):
    with pytest.raises(InputError) as error:
        cameras_of(pose)
    assert all(word in str(error.value) for word in ("poses.txt, line 1", *words))


def test_cameras_that_float32_would_blur_are_refused():
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[:, :3, 3] = [[500_000, 4_000_000, 10], [500_003, 4_000_001, 10]]
    with pytest.raises(InputError, match=r"second: .*4e\+06.*subtract a common offset"):
        Cameras.from_poses(poses, np.tile(INTRINSICS, (2, 1, 1)), 24, 32, sources=["first", "second"])


def test_unknown_axes_are_refused():
    with pytest.raises(InputError, match="'blender' are unknown: choose one of opencv, opengl"):
        cameras_of(np.eye(4), "blender")


def test_reduced_cameras_see_the_same_at_the_middle_of_each_block():
    cameras, points = sphere_cameras(3, 24, seed=2), torch.rand(3, 40, 3) - 0.5
    xy, depth = cameras.project(points)
    reduced_xy, reduced_depth = cameras.reduced(4).project(points)
    assert cameras.reduced(4).width == 6
    torch.testing.assert_close(reduced_xy, xy / 4)  # pixel (j, i) covers x from j to j + 1 in both
    torch.testing.assert_close(reduced_depth, depth)
