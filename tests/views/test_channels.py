"""Channels: texture look-up, shading, depth, normals and context, each against its definition."""

import pytest
import torch
import trimesh

from mvdecor.channels import CHANNELS, num_channels
from mvdecor.errors import InputError
from mvdecor.shapes.sampling import sample_texture
from mvdecor.shapes.shape import Shape, Texture
from mvdecor.views.cameras import Cameras
from mvdecor.views.channels import random_lights, render_channels
from mvdecor.views.embree import EmbreeRasterizer
from mvdecor.views.placement import look_at, pinhole, sphere_cameras
from mvdecor.views.views import Surface, Views, surface_of

CORNERS = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
UV = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def camera_at(x: float, y: float, z: float, size: int = 32) -> Cameras:
    rotation, translation = look_at(torch.tensor([[float(x), float(y), float(z)]]), torch.zeros(1, 3))
    return Cameras(rotation, translation, pinhole(1, size, 60.0), size, size)


def seen(shape: Shape, cameras: Cameras, layers: int = 1) -> tuple[Views, Surface]:
    views = EmbreeRasterizer()([shape], [cameras], layers)[0]
    return views, surface_of(shape, views)


def textured_square(image: torch.Tensor, uv: torch.Tensor = UV) -> Shape:
    texture = Texture(uv[FACES], (image,), torch.zeros(2, dtype=torch.int64))
    return Shape("square", CORNERS, FACES, texture=texture)


def nested_balls() -> Shape:
    balls = [trimesh.creation.icosphere(2, radius=r) for r in (1.0, 0.5)]
    return Shape.from_trimesh(trimesh.util.concatenate(balls))


def test_checkerboard_is_exact_inside_its_squares() -> None:
    # 4 x 4 squares of 16 x 16 texels; red grows to the right and green downwards, so that no flip goes unseen
    block = torch.arange(4).repeat_interleave(16)
    image = torch.zeros(64, 64, 3, dtype=torch.uint8)
    image[..., 0] = 60 * block[None, :]
    image[..., 1] = 60 * block[:, None]
    image[..., 2] = 255 * ((block[:, None] + block[None, :]) % 2)
    shape = textured_square(image)
    views, surface = seen(shape, camera_at(0, 0, 2, size=96))
    rgb = render_channels(shape, views, surface)[0, 0]
    column = (surface.points[0, 0, ..., 0] + 0.5) * 4
    row = (0.5 - surface.points[0, 0, ..., 1]) * 4
    clear = surface.mask[0, 0].clone()  # at least one texel from the border of a square
    for position in (column, row):
        fraction = position - position.floor()
        clear &= (fraction > 1 / 16) & (fraction < 15 / 16)
    i, j = row.floor(), column.floor()
    expected = torch.stack([60 * j, 60 * i, 255 * ((i + j) % 2)]) / 255
    assert clear.sum() > 500
    torch.testing.assert_close(rgb[:, clear], expected[:, clear], atol=1e-5, rtol=0)
    assert (rgb[:, ~surface.mask[0, 0]] == 0).all()


def slow_sample(image: torch.Tensor, u: float, v: float) -> torch.Tensor:
    """Bilinear, repeating, (0, 0) at the bottom left, texel centres at half: one point, four texels, no tricks."""
    height, width = image.shape[:2]
    x, y = u * width - 0.5, (1 - v) * height - 0.5
    left, top = int(torch.tensor(x).floor()), int(torch.tensor(y).floor())
    colour = torch.zeros(3)
    for row, row_weight in ((top, 1 - (y - top)), (top + 1, y - top)):
        for column, column_weight in ((left, 1 - (x - left)), (left + 1, x - left)):
            colour += row_weight * column_weight * image[row % height, column % width].float()
    return colour / 255


def test_images_of_different_sizes_repeat_and_blend() -> None:
    rng = torch.Generator().manual_seed(0)
    images = tuple(
        torch.randint(0, 256, (h, w, 3), generator=rng, dtype=torch.uint8) for h, w in ((5, 7), (1, 1), (8, 3))
    )
    texture = Texture(torch.zeros(3, 3, 2), images, torch.arange(3))
    ids = torch.randint(0, 3, (300,), generator=rng)
    uv = torch.rand(300, 2, generator=rng) * 4 - 2
    colours = sample_texture(texture, ids, uv)
    expected = torch.stack([slow_sample(images[i], float(u), float(v)) for i, (u, v) in zip(ids, uv, strict=True)])
    torch.testing.assert_close(colours, expected, atol=1e-4, rtol=0)


def test_texture_repeats_over_a_face() -> None:
    image = (
        torch.tensor([[[255, 0, 0], [0, 0, 255]]], dtype=torch.uint8).repeat_interleave(16, 0).repeat_interleave(8, 1)
    )
    shape = textured_square(image, uv=3 * UV - 1)
    views, surface = seen(shape, camera_at(0, 0, 2, size=96))
    red, _, blue = render_channels(shape, views, surface)[0, 0]
    phase = ((surface.points[0, 0, ..., 0] + 0.5) * 3) % 1
    mask = surface.mask[0, 0]
    assert (red[mask & (phase > 0.1) & (phase < 0.4)] == 1).all()
    assert (blue[mask & (phase > 0.6) & (phase < 0.9)] == 1).all()


def test_shading_is_lambert_on_both_sides() -> None:
    shape = Shape("square", CORNERS, FACES)
    for z in (2.0, -2.0):  # front and back look the same
        views, surface = seen(shape, camera_at(0, 0, z))
        mask = surface.mask[0, 0]
        head_on = render_channels(shape, views, surface)[0, 0][:, mask]
        torch.testing.assert_close(head_on, torch.full_like(head_on, 0.8))
        slanted = torch.tensor([[0.0, 0.6, 0.8 * z / 2]])
        lit = render_channels(shape, views, surface, lights=slanted)[0, 0][:, mask]
        torch.testing.assert_close(lit, torch.full_like(lit, 0.8 * (0.3 + 0.7 * 0.8)))
        dark = render_channels(shape, views, surface, lights=-slanted)[0, 0][:, mask]
        torch.testing.assert_close(dark, torch.full_like(dark, 0.8 * 0.3))


def test_depth_is_scaled_over_each_image() -> None:
    shape = nested_balls()
    views, surface = seen(shape, sphere_cameras(3, 32, seed=1), layers=2)
    scaled = render_channels(shape, views, surface, ("depth",))[:, :, 0]
    metric = render_channels(shape, views, surface, ("depth",), depth="metric")[:, :, 0]
    assert torch.equal(metric, surface.depth)
    for view in range(3):
        for layer in range(2):
            mask = surface.mask[view, layer]
            z = surface.depth[view, layer][mask]
            expected = (z - z.min()) / (z.max() - z.min())
            torch.testing.assert_close(scaled[view, layer][mask], expected)
            assert (scaled[view, layer][~mask] == 0).all()


def test_constant_and_empty_depth_stay_finite() -> None:
    shape = Shape("square", CORNERS, FACES)
    views, surface = seen(shape, camera_at(0, 0, 2), layers=2)
    depth = render_channels(shape, views, surface, ("depth",))[0, :, 0]
    assert (depth[0][surface.mask[0, 0]] == 0.5).all()
    assert (depth[1] == 0).all()


def test_normals_in_either_frame_face_the_camera() -> None:
    shape = nested_balls()
    views, surface = seen(shape, sphere_cameras(4, 32, seed=2), layers=2)
    world = render_channels(shape, views, surface, ("normal",), normal_frame="world").permute(0, 1, 3, 4, 2)
    camera = render_channels(shape, views, surface, ("normal",)).permute(0, 1, 3, 4, 2)
    mask = surface.mask
    assert torch.equal(world, surface.normals)
    for n in range(4):
        back = camera[n] @ views.cameras.rotation[n]  # R^T applied to each row
        torch.testing.assert_close(back, world[n], atol=1e-5, rtol=0)
    toward = views.cameras.centers[:, None, None, None] - surface.points
    assert ((world * toward).sum(-1)[mask] > 0).all()
    # on the outside of the ball that faces the camera the normal is the position
    first = mask[:, 0]
    assert ((world * surface.points).sum(-1)[:, 0][first] > 0.97).all()


def test_context_channels_tell_what_lies_in_front() -> None:
    shape = nested_balls()
    views, surface = seen(shape, sphere_cameras(2, 32, seed=3), layers=3)
    images = render_channels(shape, views, surface, ("front_depth", "layer", "points"))
    assert images.shape == (2, 3, 5, 32, 32)
    behind, layer, points = images[:, :, 0], images[:, :, 1], images[:, :, 2:]
    assert (behind[:, 0] == 0).all()
    for number in (1, 2):
        mask = surface.mask[:, number]
        gap = surface.depth[:, number] - surface.depth[:, number - 1]
        torch.testing.assert_close(behind[:, number][mask], gap[mask])
        assert (gap[mask] > 0).all()
    for number in range(3):
        assert (layer[:, number] == number / 2 * surface.mask[:, number]).all()
    assert torch.equal(points.permute(0, 1, 3, 4, 2), surface.points)


def test_names_decide_order_and_count() -> None:
    shape = nested_balls()
    views, surface = seen(shape, sphere_cameras(2, 16), layers=2)
    names = ("depth", "rgb", "layer", "normal", "front_depth", "points")
    images = render_channels(shape, views, surface, names)
    assert images.shape[2] == num_channels(names) == sum(channel.width for channel in CHANNELS.values()) == 12
    assert images.dtype == torch.float32 and bool(images.isfinite().all())
    start = 0
    for name in names:
        alone = render_channels(shape, views, surface, (name,))
        assert torch.equal(alone, images[:, :, start : start + CHANNELS[name].width]), name
        start += CHANNELS[name].width
    background = ~surface.mask[:, :, None].expand_as(images)
    assert (images[background] == 0).all()


def test_random_lights_are_seeded_and_near_the_camera() -> None:
    cameras = sphere_cameras(500, 8)
    lights, again = (random_lights(cameras, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(lights, again)
    torch.testing.assert_close(lights.norm(dim=1), torch.ones(500))
    cosine = -(lights * cameras.rotation[:, 2]).sum(dim=1)
    assert cosine.mean() > 0.6 and (cosine > 0).float().mean() > 0.9 and cosine.std() > 0.05


def test_unknown_names_are_listed() -> None:
    shape = nested_balls()
    views, surface = seen(shape, sphere_cameras(1, 8))
    with pytest.raises(InputError, match=r"'colour' is unknown; choose .*rgb, depth, normal"):
        render_channels(shape, views, surface, ("rgb", "colour"))
    with pytest.raises(InputError, match="minmax or metric"):
        render_channels(shape, views, surface, depth="inverse")
    with pytest.raises(InputError, match="camera or world"):
        render_channels(shape, views, surface, normal_frame="object")
    with pytest.raises(InputError, match="at least one of rgb"):
        num_channels(())
