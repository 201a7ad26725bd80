"""Corners and twins by position, and vertices that keep what the file says."""

import warnings

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree

from mvdecor.lifting.fill import components_of
from mvdecor.shapes import PartNet, Shape, read_mesh
from mvdecor.shapes.shape import WELD, positions


def exact_twins(shape: Shape) -> list[int]:
    """The lowest face with bit-equal corners, with a dictionary."""
    lowest: dict = {}
    corners = (shape.vertices[shape.faces] + 0.0).tolist()  # -0.0 becomes 0.0
    return [lowest.setdefault(tuple(sorted(map(tuple, c))), k) for k, c in enumerate(corners)]


def doubled(noise: float, seed: int = 0, subdivisions: int = 2) -> Shape:
    """A ball of radius 3 of which each face is there twice, the second time turned around, on vertices of its own, moved."""
    random = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(subdivisions, 3.0)
    moved = ball.vertices + random.uniform(-noise, noise, ball.vertices.shape)
    faces = np.concatenate([ball.faces, ball.faces[:, [1, 0, 2]] + len(ball.vertices)])
    return Shape("a", positions(np.concatenate([ball.vertices, moved])), torch.from_numpy(faces))


@pytest.mark.parametrize("noise", [0, 1e-7, 1e-6, 3e-6])
@pytest.mark.parametrize("offset", [0.0, 1.0, 0.1234567])
def test_twins_that_rounding_moved_apart_are_found(noise, offset):
    shape = doubled(noise)
    moved = Shape("a", shape.vertices + offset, shape.faces)
    count = shape.num_faces // 2
    for found in (shape, moved, shape.normalized(), moved.normalized()):
        assert found.twin_groups.tolist() == list(range(count)) * 2
        assert len(found.corners.unique()) == shape.vertices.shape[0] // 2


def test_faces_that_only_come_near_are_no_twins():
    """A sheet with two sides 1e-4 apart, which views tell apart."""
    shape = doubled(0)
    sheet = shape.vertices.clone()
    sheet[len(sheet) // 2 :] *= 1 + 1e-4
    assert Shape("a", sheet, shape.faces).twin_groups.tolist() == list(range(shape.num_faces))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 3), st.integers(3, 12))
def test_corners_against_all_distances(seed, spread, count):
    """Nearer than WELD: one position. Farther than twice that, and no others between them: two."""
    random = np.random.default_rng(seed)
    centres = random.uniform(-1, 1, (count, 3))
    points = np.repeat(centres, 3, axis=0) + random.uniform(-1, 1, (3 * count, 3)) * spread * WELD
    points = np.concatenate([points, [[-1, -1, -1], [1, 1, 1]]])
    order = random.permutation(len(points))
    faces = torch.from_numpy(np.resize(order, (-(-len(points) // 3) + 1, 3)).astype(np.int64))
    shape = Shape("a", torch.from_numpy(points), faces)
    number = np.empty(len(points), dtype=int)
    number[shape.faces.numpy()] = shape.corners.numpy()
    size = np.abs(points[:, None] - points[None]).max(axis=2) / ((points.max(axis=0) - points.min(axis=0)) / 2).max()
    same = number[:, None] == number[None]
    assert same[size < 0.99 * WELD].all()
    joined = np.eye(len(points), dtype=bool) | (size < 2.01 * WELD)
    for _ in range(len(points)):
        joined = joined @ joined
    assert joined[same].all()


def test_corners_do_not_depend_on_the_order():
    shape = doubled(2e-6, seed=1)
    random = np.random.default_rng(2)
    order = random.permutation(len(shape.vertices))
    place = torch.from_numpy(np.argsort(order))
    again = Shape("a", shape.vertices[torch.from_numpy(order)], place[shape.faces])
    assert torch.equal(again.corners, shape.corners)
    faces = torch.from_numpy(random.permutation(shape.num_faces))
    assert torch.equal(Shape("a", shape.vertices, shape.faces[faces]).corners, shape.corners[faces])


def test_zeros_of_both_signs_one_point_and_unused_vertices():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-0.0, -0.0, 0], [1, -0.0, 0], [0, 1, 0], [1e9, 0, 0]])
    shape = Shape("a", vertices, torch.tensor([[0, 1, 2], [5, 4, 3]]))
    assert shape.twin_groups.tolist() == [0, 0] and shape.corners.max() == 2
    point = Shape("a", torch.ones(3, 3), torch.tensor([[0, 1, 2], [2, 1, 0]]))
    assert point.corners.unique().tolist() == [0] and point.twin_groups.tolist() == [0, 0]


def test_one_vertex_far_away_is_no_burden():
    """All of a large mesh in a few cells must not take the memory of all its pairs."""
    shape = doubled(0, subdivisions=6)
    vertices = torch.cat([shape.vertices.double(), torch.tensor([[1e9, 0, 0], [1e9, 1e9, 0], [0, 0, 1e9]])])
    faces = torch.cat([shape.faces, torch.tensor([[0, 1, 2]]) + len(shape.vertices)])
    assert Shape("a", vertices, faces).twin_groups[-1] == len(faces) - 1


def test_twins_of_real_shapes_are_those_of_equal_corners(partnet_root):
    """Or of corners less than 1e-6 apart, which one of these shapes has."""
    shapes = PartNet(partnet_root, "all", "leaf")
    for id in ("3517", "8848"):
        shape = shapes.load(id)
        exact = torch.tensor(exact_twins(shape))
        for face in (shape.twin_groups != exact).nonzero()[:, 0].tolist():
            ours = shape.vertices[shape.faces[face]]
            theirs = shape.vertices[shape.faces[shape.twin_groups[face]]]
            assert cKDTree(ours).query(theirs)[0].max() < 1e-6
        assert (shape.twin_groups != exact).float().mean() < 0.002


def test_components_join_where_corners_nearly_meet():
    ball = trimesh.creation.icosphere(2, 3.0)
    half = (
        ball.faces[np.asarray(ball.triangles_center)[:, 2] > 0],
        ball.faces[np.asarray(ball.triangles_center)[:, 2] <= 0],
    )
    vertices = np.concatenate([ball.vertices, ball.vertices + 1e-6])
    shape = Shape("a", positions(vertices), torch.from_numpy(np.concatenate([half[0], half[1] + len(ball.vertices)])))
    assert len(set(components_of(shape))) == 1


@pytest.mark.parametrize("suffix", ["obj", "off", "ply", "stl"])
def test_far_from_the_origin_a_shape_is_the_same_once_normalized(tmp_path, suffix):
    ball = trimesh.creation.icosphere(3, 0.5)
    near = Shape("a", positions(ball.vertices), torch.from_numpy(ball.faces)).normalized()
    far = ball.vertices + np.array([500_000, 100, 5_400_000])
    rows = [" ".join(repr(float(x)) for x in row) for row in far]
    lines = {
        "obj": [*(f"v {row}" for row in rows), *(f"f {a + 1} {b + 1} {c + 1}" for a, b, c in ball.faces)],
        "off": ["OFF", f"{len(far)} {len(ball.faces)} 0", *rows, *(f"3 {a} {b} {c}" for a, b, c in ball.faces)],
        "ply": [
            *("ply", "format ascii 1.0", f"element vertex {len(far)}", *(f"property double {axis}" for axis in "xyz")),
            *(f"element face {len(ball.faces)}", "property list uchar int vertex_indices", "end_header", *rows),
            *(f"3 {a} {b} {c}" for a, b, c in ball.faces),
        ],
        "stl": ["solid far"],
    }[suffix]
    if suffix == "stl":
        for face in ball.faces:
            lines += ["facet normal 0 0 0", "outer loop", *(f"vertex {rows[k]}" for k in face), "endloop", "endfacet"]
    (tmp_path / f"far.{suffix}").write_text("\n".join(lines) + "\n")
    shape = read_mesh(tmp_path / f"far.{suffix}")
    assert torch.equal(shape.vertices[shape.faces], torch.from_numpy(far[ball.faces])), "the file's own frame"
    assert float(shape.face_areas.sum()) == pytest.approx(ball.area, rel=1e-6)
    again = shape.normalized()
    assert again.vertices.dtype == torch.float32
    assert torch.allclose(again.vertices[again.faces], near.vertices[near.faces], atol=1e-6)


def test_digits_that_were_lost_before_are_said(tmp_path):
    ball = trimesh.creation.icosphere(2, 0.5)
    far = ball.vertices + np.array([500_000, 100, 5_400_000])
    for name, points, digits in (("kept", far, 6), ("lost", far.astype(np.float32), 4), ("near", ball.vertices, 4)):
        rows = [f"v {x:.{digits}f} {y:.{digits}f} {z:.{digits}f}" for x, y, z in points]
        rows += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in ball.faces]
        (tmp_path / f"{name}.obj").write_text("\n".join(rows))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("kept", "near"):
            read_mesh(tmp_path / f"{name}.obj")
    with pytest.warns(UserWarning, match=r"lost\.obj: its x coordinates are in steps of 0\.03125, 6\.2 % of its size"):
        read_mesh(tmp_path / "lost.obj")
    whole = [f"v {x + 500_000} {y} 0\n" for x, y in ((0, 0), (3, 0), (3, 4), (0, 4))]  # metres, which lost nothing
    (tmp_path / "whole.obj").write_text("".join([*whole, "f 1 2 3\n", "f 1 3 4\n"]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        read_mesh(tmp_path / "whole.obj")


@pytest.mark.parametrize("scale", [1e-300, 1e-38, 1e-30, 1e-12, 1.0, 1e12, 1e20, 1e30, 1e38, 1e300])
def test_any_scale(scale):
    ball = trimesh.creation.icosphere(2, 1.0)
    near = Shape("a", positions(ball.vertices), torch.from_numpy(ball.faces))
    shape = Shape("a", positions(ball.vertices * scale), near.faces)
    assert torch.allclose(shape.normalized().vertices, near.normalized().vertices, atol=1e-6)
    assert torch.equal(shape.twin_groups, near.twin_groups)
    assert bool(shape.face_areas.isfinite().all()) or scale > 1e100
    if 1e-100 < scale < 1e100:
        assert float(shape.face_areas.sum()) == pytest.approx(ball.area * scale**2, rel=1e-5)
        assert torch.allclose(shape.face_normals, near.face_normals, atol=1e-5)


def test_vertices_stay_float32_where_that_is_enough():
    points = np.random.default_rng(0).uniform(-1, 1, (100, 3))
    for scale, offset in ((1, 0), (1000, 0), (1, 5), (1e30, 0), (1e-30, 0)):
        assert positions(points * scale + offset).dtype == torch.float32
    for scale, offset in ((1, 1000), (1e39, 0), (1e-42, 0)):
        assert positions(points * scale + offset).dtype == torch.float64
    assert positions(np.full((3, 3), np.nan)).dtype == torch.float32
