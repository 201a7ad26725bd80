"""The compiled loops over pixels say what the tensor operations say, and rows are those of PyTorch."""

import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.rows import rows_of
from mvdecor.shapes.shape import Shape, Texture
from mvdecor.views import Surface, Views, make_rasterizer, render_channels, sphere_cameras, surface_of, surface_of_all
from mvdecor.views.channels import foreground_channels, textured_by_tensors
from mvdecor.views.pixel_loops import texture_by_loop
from mvdecor.views.views import join, surface_by_tensors

CHANNELS = ("rgb", "depth", "normal", "points", "front_depth", "layer")


def lump(seed: int = 0, images: int = 3) -> Shape:
    """Two bent balls, one in the other, with slivers, and textures of several sizes whose coordinates leave the image."""
    rng = torch.Generator().manual_seed(seed)
    ball = trimesh.util.concatenate([trimesh.creation.icosphere(2, radius) for radius in (0.9, 0.4)])
    shape = Shape.from_trimesh(ball, f"lump {seed}")
    vertices = shape.vertices * (1 + 0.2 * torch.rand(len(shape.vertices), 1, generator=rng))
    vertices[:3] = vertices[0]  # faces without area
    vertices[3] = vertices[4] + 1e-6
    uv = 5 * torch.randn(shape.num_faces, 3, 2, generator=rng)
    pictures = tuple(torch.randint(256, (3 + i, 7 - i, 3), generator=rng, dtype=torch.uint8) for i in range(images))
    ids = torch.randint(images, (shape.num_faces,), generator=rng)
    return Shape(shape.id, vertices, shape.faces, texture=Texture(uv, pictures, ids))


def views_of(shape: Shape, count: int = 3, layers: int = 3, size: int = 40) -> Views:
    return make_rasterizer("embree")([shape], [sphere_cameras(count, size)], layers)[0]


def assert_same(a: Surface, b: Surface) -> None:
    assert torch.equal(a.mask, b.mask)
    for ours, theirs in zip(a.images, b.images, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_surface_points():
    shape = lump()
    views = views_of(shape)
    assert int((views.face_ids >= 0).sum()) > 3000
    by_tensors = surface_by_tensors(shape, views, views.face_ids >= 0)
    assert_same(surface_of(shape, views), by_tensors)
    back = views[[2, 0]]
    assert_same(surface_of(shape, back), by_tensors[[2, 0]])
    for ours, theirs in zip(
        vars(surface_of(shape, views).foreground).values(), vars(by_tensors.foreground).values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_parts_of_a_surface_are_those_of_its_images():
    whole = surface_of(lump(), views_of(lump()))
    seen_as_images = Surface(whole.cameras, whole.mask, *whole.images)
    for index in (slice(0, 1), slice(1, 3), slice(0, 3, 2), [2, 1], slice(1, 1)):
        part = surface_of(lump(), views_of(lump()))[index]
        assert_same(part, seen_as_images[index])
        for ours, theirs in zip(
            vars(part.foreground).values(), vars(seen_as_images[index].foreground).values(), strict=True
        ):
            assert torch.equal(ours, theirs)


def test_colours():
    shape = lump()
    views = views_of(shape)
    foreground, faces = surface_of(shape, views).foreground, views.face_ids[views.face_ids >= 0]
    texture = shape.texture
    tables = (shape.face_origins, shape.face_gradients, texture.uv, texture.image_ids, texture.packed)
    colours = texture_by_loop(faces, foreground.points, *tables)
    torch.testing.assert_close(
        colours, textured_by_tensors(shape, faces, [texture], foreground.points), rtol=0, atol=1e-4
    )
    assert colours.std() > 0.1


@pytest.mark.parametrize("textured", [(True, True, True), (False, False), (True, False, True)])
def test_shapes_rendered_together_are_those_rendered_alone(textured):
    shapes = [lump(seed, images=seed + 1) for seed in range(len(textured))]
    shapes = [s if keep else Shape(s.id, s.vertices, s.faces) for s, keep in zip(shapes, textured, strict=True)]
    views = [views_of(shape, count=2) for shape in shapes]
    together = foreground_channels(shapes, views, surface_of_all(shapes, views), CHANNELS)
    alone = [
        render_channels(shape, v, surface_of(shape, v), CHANNELS).movedim(2, -1)[v.face_ids >= 0]
        for shape, v in zip(shapes, views, strict=True)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-5, atol=1e-4)
    joined, joined_views = join(shapes, views)
    assert_same(
        surface_of(joined, joined_views), Surface.cat([surface_of(s, v) for s, v in zip(shapes, views, strict=True)])
    )


@settings(max_examples=20)
@given(
    rows=st.integers(1, 50),
    width=st.sampled_from([(), (1,), (3,), (4,), (3, 3), (2, 3)]),
    kind=st.sampled_from([torch.float32, torch.float64, torch.uint8, torch.bool, torch.int64]),
    index_kind=st.sampled_from([torch.int32, torch.int64]),
    count=st.sampled_from([0, 5, 2000]),
)
def test_rows_are_those_of_pytorch(rows, width, kind, index_kind, count):
    rng = torch.Generator().manual_seed(rows)
    table = torch.randint(2 if kind == torch.bool else 200, (rows, *width), generator=rng).to(kind)
    index = torch.randint(rows, (count,), generator=rng).to(index_kind)
    assert torch.equal(rows_of(table, index), table[index.long()])
    strided = table.flip(0) if not width else table.transpose(0, -1).contiguous().transpose(0, -1)
    assert torch.equal(rows_of(strided, index), strided[index.long()])
