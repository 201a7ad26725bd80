"""Captures rendered of shapes: pixels, labels and depth against the mesh itself."""

import numpy as np
import pytest
import torch
import trimesh

from mvdecor.captures import BACKGROUND_NAME, RenderedCaptures, render_capture
from mvdecor.errors import InputError
from mvdecor.shapes import PartNet, RenderPeople
from mvdecor.shapes.shape import Shape
from mvdecor.views.placement import sphere_cameras
from mvdecor.views.rasterizers import make_rasterizer


@pytest.fixture(scope="module")
def chairs(made_up_partnet):
    return RenderedCaptures(PartNet(made_up_partnet, "Chair", 1), count=6, size=48, rasterizer="embree")


def test_vertices_project_onto_faces_that_they_belong_to(chairs):
    """A vertex that nothing hides lies in a pixel with its depth and the label of one of its faces."""
    id = chairs.ids("train")[0]
    shape, capture = chairs.shapes.load(id), chairs.load(id)
    assert capture.label_names == (*shape.label_names, BACKGROUND_NAME) == chairs.label_names
    assert capture.background == len(shape.label_names) and capture.labelled == tuple(range(6))
    xy, z = capture.cameras.project(shape.vertices.expand(6, -1, 3))
    labels, depth, alpha = capture.labels(), capture.depth(), capture.alpha()
    of_vertex = [set() for _ in range(len(shape.vertices))]
    for corners, label in zip(shape.faces.tolist(), shape.face_labels.tolist()):
        for corner in corners:
            of_vertex[corner].add(label)
    agree = checked = 0
    for view in range(6):
        column, row = xy[view].floor().long().clamp(0, 47).unbind(1)
        visible = (depth[view, row, column] - z[view]).abs() < 0.01
        for vertex in visible.nonzero()[:, 0].tolist():
            checked += 1
            agree += int(labels[view, row[vertex], column[vertex]]) in of_vertex[vertex]
    assert checked > 100 and agree / checked > 0.95  # a pixel's centre may lie beyond the edge that the vertex is on
    assert torch.equal(alpha == 0, labels == capture.background) and torch.equal(alpha == 0, depth == 0)


def test_rays_and_depth_give_points_on_the_surface(chairs):
    capture = chairs.load(chairs.ids("train")[1])
    shape = chairs.shapes.load(capture.id)
    alpha, depth = capture.alpha().reshape(-1), capture.depth().reshape(-1)
    index = (alpha > 0).nonzero()[:, 0][::37]
    rays = capture.rays(index)
    cosine = (rays.directions * capture.cameras.rotation[index // 48**2, 2]).sum(dim=1)
    points = rays.origins + (depth[index] / cosine)[:, None] * rays.directions
    triangles = shape.vertices[shape.faces].double().numpy()
    for point in points.double().numpy():
        nearest = trimesh.triangles.closest_point(triangles, np.tile(point, (len(triangles), 1)))
        assert np.linalg.norm(nearest - point, axis=1).min() < 1e-4
    assert bool(
        (depth[index] > capture.near[index // 48**2]).all() and (depth[index] < capture.far[index // 48**2]).all()
    )


def test_colours_are_those_of_the_surface_whatever_the_camera():
    """Two opposite halves of a box under a light that stands still: the same point has the same grey in all views."""
    box = trimesh.creation.box()
    shape = Shape("box", torch.tensor(box.vertices, dtype=torch.float32), torch.tensor(box.faces)).normalized()
    cameras = sphere_cameras(8, 64, distance=(2.5, 2.5), jitter=0)
    capture = render_capture(shape, cameras, make_rasterizer("embree"))
    greys: dict[tuple[int, ...], set[int]] = {}
    images, depth = capture.images(), capture.depth()
    points = cameras.centers[:, None, None] + depth[..., None] * cameras.rays()
    normals = points / points.abs().amax(dim=-1, keepdim=True)
    for side in range(6):
        axis, sign = side // 2, 1 - 2 * (side % 2)
        on_it = (depth > 0) & (normals[..., axis] * sign > 0.999) & (normals.abs() < 0.99).sum(dim=-1).eq(2)
        greys[axis, sign] = set(images[on_it].unique().tolist())
    assert all(len(values) == 1 for values in greys.values())
    brightest = max(greys, key=lambda side: max(greys[side]))
    assert brightest == (1, 1), "the light comes from above"
    assert capture.labelled == () and capture.background is None
    assert bool((images[depth == 0] == 255).all())


def test_people_keep_their_texture_and_labels(made_up_people):
    captures = RenderedCaptures(RenderPeople(made_up_people), count=2, size=32, rasterizer="embree")
    capture = captures.load(captures.ids("train")[0])
    assert len(capture.images().reshape(-1, 3).unique(dim=0)) > 50
    assert set(capture.labels().unique().tolist()) <= set(range(len(captures.label_names)))


def test_same_pixels_whatever_was_read_before_and_with_little_memory(made_up_partnet):
    shapes = PartNet(made_up_partnet, "Chair", 1)
    plenty = RenderedCaptures(shapes, count=20, size=16, rasterizer="embree")
    scarce = RenderedCaptures(shapes, count=20, size=16, rasterizer="embree", memory=0.003)
    first, second = shapes.ids("train")[:2]
    expected, rendered = plenty.load(first), scarce.load(first)
    scarce.load(second).images()
    for views in ([17, 3], [0], list(range(20))):
        assert torch.equal(expected.images(views), rendered.images(views))
        assert torch.equal(expected.labels(views), rendered.labels(views))
    assert scarce.memory.bytes <= 3000 < plenty.memory.bytes


def test_cameras_are_those_of_the_seed(made_up_partnet):
    shapes = PartNet(made_up_partnet, "Chair", 1)
    ids = shapes.ids("train")[:2]

    def centers(**settings) -> list[np.ndarray]:
        captures = RenderedCaptures(shapes, count=4, size=8, jitter=0.1, rasterizer="embree", **settings)
        return [captures.load(id).cameras.centers.numpy() for id in ids]

    assert np.array_equal(centers()[0], centers()[0]) and not np.array_equal(*centers())
    assert np.array_equal(*centers(same_cameras=True))
    assert not np.array_equal(centers(seed=1)[0], centers()[0])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"count": 1}, r"capture\.count=1"),
        ({"distance": [0.9, 2.0]}, r"capture\.distance=\[0\.9, 2\.0\]"),
        ({"light": [0, 0, 0]}, r"capture\.light"),
    ],
)
def test_bad_settings_are_refused(made_up_partnet, settings, words):
    with pytest.raises(InputError, match=words):
        RenderedCaptures(PartNet(made_up_partnet, "Chair", 1), **settings)
