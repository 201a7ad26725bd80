"""What follows from face id and ray: surface points, barycentric coordinates, values of faces."""

import torch
import trimesh

from mvdecor.shapes.shape import Shape
from mvdecor.views.cameras import Cameras
from mvdecor.views.embree import EmbreeRasterizer
from mvdecor.views.placement import look_at, pinhole, sphere_cameras
from mvdecor.views.views import Surface, Views, barycentric, face_values_at_pixels, surface_of


def tilted_square() -> Shape:
    """The square |x|, |y| < 0.5 on the plane z = 0.4 x, as two faces, of which one is wound the wrong way."""
    corners = torch.tensor([[-0.5, -0.5, -0.2], [0.5, -0.5, 0.2], [0.5, 0.5, 0.2], [-0.5, 0.5, -0.2]])
    return Shape("square", corners, torch.tensor([[0, 1, 2], [0, 3, 2]]), torch.tensor([1, -1]), ("a", "b"))


def front_camera(size: int = 33) -> Cameras:
    rotation, translation = look_at(torch.tensor([[0.0, 0.0, 2.0]]), torch.zeros(1, 3))
    return Cameras(rotation, translation, pinhole(1, size, 60.0), size, size)


def test_tilted_square_has_the_depth_and_normal_of_its_plane() -> None:
    shape = tilted_square()
    views = EmbreeRasterizer()([shape], [front_camera()])[0]
    surface = surface_of(shape, views)
    rays = views.cameras.rays()[0]
    # ray (x, y, -1) t from (0, 0, 2) meets z = 0.4 x where 2 - t = 0.4 x t
    depth = 2 / (1 + 0.4 * rays[..., 0])
    hit_x, hit_y = depth * rays[..., 0], depth * rays[..., 1]
    inside = (hit_x.abs() < 0.5) & (hit_y.abs() < 0.5)
    assert torch.equal(surface.mask[0, 0], inside) and 100 < inside.sum() < 1000
    torch.testing.assert_close(surface.depth[0, 0][inside], depth[inside])
    expected = torch.stack([hit_x, hit_y, 2 - depth], dim=-1)[inside]
    torch.testing.assert_close(surface.points[0, 0][inside], expected, atol=1e-6, rtol=1e-5)
    normal = torch.tensor([-0.4, 0.0, 1.0]) / (1 + 0.4**2) ** 0.5  # towards the camera, whatever the winding
    torch.testing.assert_close(surface.normals[0, 0][inside], normal.expand(int(inside.sum()), 3))
    for field in (surface.depth[0, 0], surface.points[0, 0], surface.normals[0, 0]):
        assert (field[~inside] == 0).all()


def test_barycentric_coordinates_reproduce_the_points() -> None:
    shape = Shape.from_trimesh(trimesh.creation.torus(0.6, 0.3, major_sections=20, minor_sections=12))
    views = EmbreeRasterizer()([shape], [sphere_cameras(4, 48, seed=2)], layers=3)[0]
    surface = surface_of(shape, views)
    mask = surface.mask
    assert mask[:, 2].any()
    faces = views.face_ids[mask]
    weights = barycentric(shape, faces, surface.points[mask])
    points = (weights[..., None] * shape.vertices[shape.faces[faces.long()]]).sum(dim=-2)
    torch.testing.assert_close(points, surface.points[mask], atol=1e-5, rtol=0)
    assert weights.min() > -1e-3
    torch.testing.assert_close(weights.sum(-1), torch.ones(int(mask.sum())))


def test_barycentric_coordinates_of_degenerate_faces_are_those_of_a_corner() -> None:
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    line = Shape("line", vertices, torch.tensor([[0, 1, 2], [0, 0, 0]]))
    weights = barycentric(line, torch.tensor([0, 1]), torch.tensor([[1.0, 0, 0], [0, 0, 0]]))
    assert weights.tolist() == [[1, 0, 0], [1, 0, 0]]


def test_rays_at_pixels_are_those_of_the_whole_image() -> None:
    cameras = sphere_cameras(3, 20, seed=1)
    view, pixel = torch.tensor([0, 2, 2, 1]), torch.tensor([0, 399, 57, 21])
    expected = cameras.rays().flatten(1, 2)[view, pixel]
    torch.testing.assert_close(cameras.rays_at(view, pixel), expected, atol=1e-6, rtol=0)


def test_values_of_faces_reach_their_pixels() -> None:
    shape = tilted_square()
    views = EmbreeRasterizer()([shape], [front_camera()])[0]
    values = face_values_at_pixels(torch.tensor([10, 20]), views, background=-7)
    assert set(values[views.face_ids == 0].tolist()) == {10}
    assert set(values[views.face_ids == 1].tolist()) == {20}
    assert set(values[views.face_ids == -1].tolist()) == {-7}


def test_views_and_surfaces_are_indexed_by_view() -> None:
    shape = Shape.from_trimesh(trimesh.creation.icosphere(1))
    views = EmbreeRasterizer()([shape], [sphere_cameras(5, 16)], layers=2)[0]
    whole = surface_of(shape, views)
    some = surface_of(shape, Views(views.cameras, views.face_ids)[[3, 1]])
    assert torch.equal(some.points, whole[[3, 1]].points)
    joined = Surface.cat([whole[3:4], whole[1:2]])
    assert torch.equal(joined.depth, some.depth) and torch.equal(joined.cameras.rotation, some.cameras.rotation)
