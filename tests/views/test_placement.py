"""Placement: proper poses everywhere, a well spread sphere, seeds, close-ups that see their point."""

import math

import pytest
import torch
import trimesh

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape
from mvdecor.views.placement import close_up_cameras, directions, look_at, place_cameras, sphere_cameras


def ball() -> Shape:
    return Shape.from_trimesh(trimesh.creation.icosphere(2))


def assert_proper(rotation: torch.Tensor) -> None:
    eye = torch.eye(3).expand_as(rotation)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(rotation)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (1.0, 1.0, 1.0)])
def test_look_at_is_a_proper_rotation_also_along_up(up: tuple[float, float, float]) -> None:
    along = torch.tensor([up])
    near = along + torch.tensor([[1e-5, 0.0, -1e-5]])  # so nearly along up that the usual formula loses its digits
    centers = torch.cat([along, -along, near, torch.eye(3), -torch.eye(3), torch.randn(20, 3)])
    rotation, translation = look_at(centers, torch.zeros_like(centers), up)
    assert_proper(rotation)
    at_origin = (rotation @ torch.zeros(3, 1))[..., 0] + translation
    expected = torch.stack([torch.zeros(len(centers)), torch.zeros(len(centers)), centers.norm(dim=1)], dim=1)
    torch.testing.assert_close(at_origin, expected, atol=1e-5, rtol=0)


def test_look_at_keeps_up_up() -> None:
    centers = torch.randn(30, 3)
    rotation, _ = look_at(centers, torch.zeros_like(centers))
    assert (rotation[:, 1] @ torch.tensor([0.0, 1.0, 0.0]) < 0).all()  # image y points down
    torch.testing.assert_close(rotation[:, 0, 1], torch.zeros(30), atol=1e-6, rtol=0)  # no roll


def test_look_at_refuses_a_camera_at_its_target() -> None:
    with pytest.raises(InputError, match="stands at its own target"):
        look_at(torch.ones(2, 3), torch.tensor([[0.0, 0, 0], [1, 1, 1]]))


def nearest_angles(outward: torch.Tensor) -> torch.Tensor:
    return (outward @ outward.T - 2 * torch.eye(len(outward))).amax(dim=1).clamp(-1, 1).acos()


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 16, 20, 24, 33, 50, 86, 100, 200])
def test_directions_are_well_spread(count: int) -> None:
    outward = directions(count)
    assert outward.shape == (count, 3)
    torch.testing.assert_close(outward.norm(dim=1), torch.ones(count))
    if count > 1:
        # caps of the mean area per direction have radius 2 / sqrt(count); neighbours must not be much closer
        assert nearest_angles(outward).min() > 0.75 * 2 / math.sqrt(count)
    if count >= 5:
        assert outward.mean(dim=0).norm() < 0.1
        # no hole: every direction of the sphere has a camera near it
        anywhere = torch.nn.functional.normalize(
            torch.randn(2000, 3, generator=torch.Generator().manual_seed(0)), dim=1
        )
        assert (anywhere @ outward.T).amax(dim=1).clamp(-1, 1).acos().max() < 3.2 / math.sqrt(count)


def test_recipe_has_both_poles_and_seven_rings() -> None:
    heights = directions(86)[:, 1]
    assert heights[0] == 1 and heights[-1] == -1
    _, sizes = (heights * 1e4).round().unique(return_counts=True)
    assert sizes.flip(0).tolist() == [1, 6, 12, 16, 17, 15, 12, 6, 1]  # from the north pole down


def test_sphere_cameras_follow_the_recipe() -> None:
    cameras = sphere_cameras(86, 256, seed=5)
    assert len(cameras) == 86 and (cameras.height, cameras.width) == (256, 256)
    assert_proper(cameras.rotation)
    reach = cameras.centers.norm(dim=1)
    assert reach.min() >= 1.4 - 1e-5 and reach.max() <= 2 + 1e-5 and reach.std() > 0.1
    # all look at the origin, with 60 degrees from edge to edge
    xy, _ = cameras.project(torch.zeros(86, 1, 3))
    torch.testing.assert_close(xy, torch.full_like(xy, 128.0), atol=1e-2, rtol=0)
    torch.testing.assert_close(
        2 * (128 / cameras.intrinsics[:, 0, 0]).atan().rad2deg(), torch.full((86,), 60.0), atol=1e-3, rtol=0
    )
    # turned from the rings by about 0.06 rad along each of two tangents, and by no more than 0.25 along either
    turns = ((cameras.centers / reach[:, None]) * directions(86)).sum(dim=1).clamp(-1, 1).acos()
    assert 0.05 < turns.mean() < 0.1 and turns.max() < 0.25 * math.sqrt(2)


def test_no_jitter_puts_cameras_on_the_directions() -> None:
    cameras = sphere_cameras(20, 8, seed=1, jitter=0.0, distance=(1.5, 1.5))
    torch.testing.assert_close(cameras.centers, 1.5 * directions(20), atol=1e-5, rtol=0)


@pytest.mark.parametrize("close_ups", [0, 3, 10])
def test_seed_decides_and_nothing_else(close_ups: int) -> None:
    first = place_cameras(ball(), 10, 32, seed=4, close_ups=close_ups)
    torch.manual_seed(99)
    again = place_cameras(ball(), 10, 32, seed=4, close_ups=close_ups)
    other = place_cameras(ball(), 10, 32, seed=5, close_ups=close_ups)
    assert len(first) == 10
    assert torch.equal(first.rotation, again.rotation) and torch.equal(first.translation, again.translation)
    assert not torch.equal(first.translation, other.translation)


def test_close_ups_stand_outside_and_look_at_the_surface() -> None:
    cameras = close_up_cameras(ball(), 40, 64, seed=0, distance=(0.5, 0.9))
    assert_proper(cameras.rotation)
    forward = cameras.rotation[:, 2]
    # where the optical axis meets the unit sphere: |c + t f| = 1, the nearer root
    half, rest = (cameras.centers * forward).sum(1), (cameras.centers**2).sum(1) - 1
    assert (rest > 0).all(), "a close-up camera is inside the ball"
    distance = -half - (half**2 - rest).sqrt()
    assert distance.min() > 0.5 - 0.05 and distance.max() < 0.9 + 0.05  # the ball is a polyhedron
    assert (cameras.centers.mean(dim=0).norm() < 0.5).item()  # on all sides


def test_close_ups_ignore_the_winding() -> None:
    outside = ball()
    inside_out = Shape("inverted", outside.vertices, outside.faces.flip(1))
    assert (close_up_cameras(inside_out, 30, 8).centers.norm(dim=1) > 1).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"count": 0}, "views.count=0: .* at least 1"),
        ({"count": 4, "fov": 180.0}, "views.fov=180.0: .* below 180"),
        ({"count": 4, "distance": (2.0, 1.0)}, r"views.distance=\[2.0,1.0\]"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sphere_cameras(**arguments)


def test_more_close_ups_than_views_is_an_error() -> None:
    with pytest.raises(InputError, match=r"views.close_ups=5: .* count=4"):
        place_cameras(ball(), 4, 16, close_ups=5)
    with pytest.raises(InputError, match=r"views.count=0: .* at least 1"):
        place_cameras(ball(), 0, 16)


def test_a_shape_without_area_has_no_close_ups() -> None:
    line = Shape("line", torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2]]))
    with pytest.raises(InputError, match="line"):
        close_up_cameras(line, 2)
