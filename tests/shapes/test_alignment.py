"""Alignment of point clouds against known transforms of samples that are drawn here in another way."""

import numpy as np
import pytest
import trimesh

from mvdecor.shapes.alignment import align_points, sample_surface

TURN = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]  # a quarter about the vertical
SWAP = [[1, 0, 0], [0, 0, 1], [0, 1, 0]]  # y and z swapped: a mirror image
FLIP = [[-1, 0, 0], [0, -1, 0], [0, 0, 1]]


def boxes(*parts):
    """Boxes of (size, centre) as one mesh."""
    meshes = [trimesh.creation.box(size, trimesh.transformations.translation_matrix(centre)) for size, centre in parts]
    return trimesh.util.concatenate(meshes)


LAMP = boxes(([1.2, 0.1, 0.7], [0, -0.5, 0]), ([0.1, 1, 0.1], [0.4, 0, 0.1]), ([0.3, 0.2, 0.2], [0.2, 0.5, 0.2]))


def cloud(mesh, count=10_000):
    return np.asarray(trimesh.sample.sample_surface(mesh, count, seed=3)[0])


@pytest.mark.parametrize("axes", [np.eye(3), TURN, SWAP, FLIP], ids=["unchanged", "turn", "swap", "flip"])
def test_a_known_transform_is_recovered(axes):
    points = cloud(LAMP)
    moved = 0.35 * points @ np.asarray(axes).T + [0.3, -2, 5]
    found = align_points(moved.astype(np.float32), LAMP.vertices, LAMP.faces)
    np.testing.assert_array_equal(found.axes, np.linalg.inv(axes))
    assert found.scale == pytest.approx(1 / 0.35, rel=2e-3)
    np.testing.assert_allclose(found.apply(moved), points, atol=3e-3)
    assert 0 < found.residual < 0.02


def test_a_symmetric_shape_keeps_its_axes():
    cube = boxes(([1, 1, 1], [0, 0, 0]))
    found = align_points(cloud(cube) @ np.asarray(TURN).T, cube.vertices, cube.faces)
    np.testing.assert_array_equal(found.axes, np.eye(3))


def test_points_of_another_shape_leave_a_large_residual():
    cross = boxes(([2, 0.1, 0.1], [0, 0, 0]), ([0.1, 2, 0.1], [0, 0, 0]), ([0.1, 0.1, 2], [0, 0, 0]))
    found = align_points(cloud(cross), LAMP.vertices, LAMP.faces)
    assert found.residual > 0.05


def test_same_points_same_alignment():
    points = cloud(LAMP, 2000)
    first, second = (align_points(points, LAMP.vertices, LAMP.faces) for _ in range(2))
    np.testing.assert_array_equal(first.apply(points), second.apply(points))


def test_surface_samples_lie_on_the_surface_by_area():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 5], [3, 0, 5], [0, 3, 5], [9, 9, 9.0]])
    faces = np.array([[0, 1, 2], [3, 5, 4], [0, 0, 6]])  # areas 0.5, 4.5 and 0
    points, normals = sample_surface(vertices, faces, 20_000, np.random.default_rng(0))
    upper = points[:, 2] == 5
    assert set(points[:, 2]) == {0.0, 5.0}
    assert upper.mean() == pytest.approx(0.9, abs=0.01)
    assert (points[:, :2] >= 0).all() and (points[upper, :2].sum(axis=1) <= 3).all()
    np.testing.assert_allclose(points[upper].mean(axis=0), [1, 1, 5], atol=0.03)  # the centroid: uniform inside
    np.testing.assert_array_equal(normals[upper], np.tile([0, 0, -1.0], (upper.sum(), 1)))
    np.testing.assert_array_equal(normals[~upper], np.tile([0, 0, 1.0], ((~upper).sum(), 1)))
