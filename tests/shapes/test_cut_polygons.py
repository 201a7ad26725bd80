"""Polygons are cut so that their triangles cover them once; `tests/fuzz_polygons.py` has the independent checks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.shapes import read_mesh
from mvdecor.shapes.polygons import cut_polygons, fan_triangles
from tests.fuzz_polygons import area_of, check_case, check_cut, random_polygon
from tests.readers import as_trimesh

L = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], dtype=float)


def cut(polygon: np.ndarray) -> np.ndarray:
    """int64 [n - 2, 3] of one polygon, float64 [n, 2] or [n, 3]."""
    points = np.column_stack([polygon, np.zeros((len(polygon), 3 - polygon.shape[1]))])
    triangles, owner = cut_polygons(points, np.arange(len(points)), np.array([len(points)]))
    assert owner.tolist() == [0] * (len(points) - 2)
    return triangles


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**31))
def test_any_simple_polygon_is_covered_once(seed):
    polygon = random_polygon(np.random.default_rng(seed))
    check_cut(polygon, cut(polygon))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.integers(3, 20))
def test_convex_polygons_are_fans_in_any_plane(seed, corners):
    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    flat = np.stack([np.cos(angles), 0.3 * np.sin(angles), np.zeros(corners)], axis=1)
    turned, _ = np.linalg.qr(random.normal(size=(3, 3)))
    triangles = cut(flat @ turned.T * 10 ** random.uniform(-9, 9))
    assert triangles.tolist() == fan_triangles(np.array([corners]))[0].tolist()


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("step", [1, -1])
def test_an_l_from_every_corner_and_in_both_directions(first, step):
    polygon = np.roll(L, first, axis=0)[::step]
    check_cut(polygon, cut(polygon))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31))
def test_a_polygon_and_its_twin_have_the_same_triangles(seed):
    """From another corner and in the other direction, as CAD files have it, unless one of them is a fan already."""
    random = np.random.default_rng(seed)
    polygon = random_polygon(random)
    n, first = len(polygon), int(random.integers(len(polygon)))
    order = np.roll(np.arange(n), first)[::-1]
    fan = fan_triangles(np.array([n]))[0].tolist()
    there, back = cut(polygon).tolist(), cut(polygon[order]).tolist()
    if fan not in (there, back):
        assert {frozenset(t) for t in there} == {frozenset(order[k] for k in t) for t in back}


def test_corners_in_line_and_repeated_corners_keep_the_number_of_triangles():
    in_line = np.array([[0, 0], [1, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0.5, 2], [0, 2]], dtype=float)
    repeated = np.array([[0, 0], [2, 0], [2, 0], [2, 1], [1, 1], [1, 1], [1, 2], [0, 2], [0, 2]], dtype=float)
    for polygon in (in_line, repeated):
        for first in range(len(polygon)):
            turned = np.roll(polygon, first, axis=0)
            triangles = cut(turned)
            assert len(triangles) == len(polygon) - 2
            assert sum(abs(area_of(turned[t])) for t in triangles) == pytest.approx(3)


@pytest.mark.parametrize("seed", [None, 0, 1, 2])
@pytest.mark.parametrize(
    "polygon",
    [
        [[0, 0], [4, 0], [4, 4], [2, 4], [2, 6], [2, 4], [0, 4]],  # out and back
        [[0, 0], [4, 0], [6, 0], [4, 0], [4, 4], [0, 4], [0, -2]],  # two of them, one back beyond where it began
        [[0, 0], [4, 0], [4, 4], [2, 4], [2, 6], [2, 5], [2, 3], [2, 4], [0, 4]],  # on into the inside
        [[0, 0], [4, 0], [4, 4], [2, 4], [2, 6], [2, 6], [2, 4], [2, 5], [2, 4], [0, 4], [0, 4]],  # twice, with stops
    ],
)
def test_edges_that_go_out_and_straight_back_take_no_area(polygon, seed):
    """In the plane as written, and turned, where rounding moves the way back beside the way out."""
    for direction in (1, -1):
        for first in range(len(polygon)):
            points = np.roll(np.array(polygon, dtype=float)[::direction], first, axis=0) @ np.eye(2, 3)
            if seed is not None:
                points = points @ np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
            triangles, _ = cut_polygons(points, np.arange(len(points)), np.array([len(points)]))
            a, b, c = points[triangles].swapaxes(0, 1)
            areas = np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2
            assert len(triangles) == len(polygon) - 2 and areas.sum() == pytest.approx(16)


def test_a_hole_reached_by_a_bridge_stays_open():
    ring = np.array([[0, 0], [4, 0], [4, 4], [0, 4], [0, 0], [1, 1], [1, 3], [3, 3], [3, 1], [1, 1]], dtype=float)
    for first in range(len(ring)):
        polygon = np.roll(ring, first, axis=0)
        triangles = cut(polygon)
        assert sum(abs(area_of(polygon[t])) for t in triangles) == pytest.approx(12)
        centres = polygon[triangles].mean(axis=1)
        assert not ((centres > 1) & (centres < 3)).all(axis=1).any()


@pytest.mark.parametrize(
    "polygon",
    [
        [[0, 0], [1, 1], [1, 0], [0, 1]],  # a bow tie
        [[0, 0], [2, 2], [2, 0], [0, 1]],
        [[0, 0], [1, 0], [2, 0], [3, 0]],  # in line
        [[0, 0], [0, 0], [0, 0], [0, 0]],
        [[np.nan, 0], [1, 0], [1, 1], [0, 1], [0.5, 0.5]],
    ],
)
def test_what_has_no_right_answer_has_one_all_the_same(polygon):
    triangles = cut(np.array(polygon, dtype=float))
    assert len(triangles) == len(polygon) - 2 and set(triangles.reshape(-1).tolist()) == set(range(len(polygon)))
    assert triangles.tolist() == cut(np.array(polygon, dtype=float)).tolist()


def test_a_pentagram_that_cuts_itself_is_a_fan():
    angles = np.arange(5) * 4 * np.pi / 5
    polygon = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert len(cut(polygon)) == 3


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0, 0.2))
def test_nearly_flat_polygons_are_cut_as_flat_ones_are(seed, bend):
    random = np.random.default_rng(seed)
    polygon = random_polygon(random)
    bent = np.column_stack([polygon, bend * 0.01 * random.normal(size=len(polygon))])
    triangles = cut(bent)
    areas = (
        np.linalg.norm(
            np.cross(bent[triangles[:, 1]] - bent[triangles[:, 0]], bent[triangles[:, 2]] - bent[triangles[:, 0]]),
            axis=1,
        )
        / 2
    )
    assert areas.sum() == pytest.approx(abs(area_of(polygon)), rel=0.1)


def test_only_the_concave_ones_of_many_change():
    random = np.random.default_rng(3)
    polygons = [L, np.array([[0, 0], [1, 0], [1, 1], [0, 1]], dtype=float), np.roll(L, 1, axis=0)] * 20
    order = random.permutation(len(polygons))
    chosen = [polygons[k] for k in order]
    sizes = np.array([len(polygon) for polygon in chosen])
    points = np.column_stack([np.concatenate(chosen), np.zeros(sizes.sum())])
    triangles, owner = cut_polygons(points, np.arange(len(points)), sizes)
    assert owner.tolist() == np.repeat(np.arange(len(sizes)), sizes - 2).tolist()
    first = np.cumsum(sizes) - sizes
    for k, polygon in enumerate(chosen):
        check_cut(polygon, triangles[owner == k] - first[k])


def solid(suffix: str, scale: float = 1.0) -> str:
    """An L of height 1: two caps of area 3 and six sides of 8 in all, 14 together."""
    points = [(x, y, z) for z in (0.0, 1.0) for x, y in np.roll(L, 1, axis=0)]
    faces = [list(range(6))[::-1], list(range(6, 12))] + [[k, (k + 1) % 6, 6 + (k + 1) % 6, 6 + k] for k in range(6)]
    rows = [" ".join(repr(scale * float(x)) for x in point) for point in points]
    if suffix == "obj":
        return "".join(f"v {row}\n" for row in rows) + "".join(
            "f " + " ".join(str(i + 1) for i in f) + "\n" for f in faces
        )
    body = "\n".join(rows) + "\n" + "\n".join(" ".join(map(str, [len(f), *f])) for f in faces) + "\n"
    if suffix == "off":
        return f"OFF\n12 8 0\n{body}"
    axes = "".join(f"property double {axis}\n" for axis in "xyz")
    return (
        f"ply\nformat ascii 1.0\nelement vertex 12\n{axes}element face 8\n"
        f"property list uchar int vertex_indices\nend_header\n{body}"
    )


@pytest.mark.parametrize("suffix", ["obj", "off", "ply"])
@pytest.mark.parametrize("scale", [1, 1e-12, 1e12, 1e30, 1e60, 1e-60])
def test_area_of_a_solid_with_concave_caps_at_any_scale(tmp_path, suffix, scale):
    (tmp_path / f"a.{suffix}").write_text(solid(suffix, scale))
    shape = read_mesh(tmp_path / f"a.{suffix}")
    assert shape.num_faces == 20 and float(shape.face_areas.sum()) == pytest.approx(14 * scale**2, rel=1e-5)
    assert as_trimesh(shape).volume == pytest.approx(3 * scale**3, rel=1e-4)
    normalized = shape.normalized()
    assert normalized.vertices.dtype.itemsize == 4 and float(normalized.vertices.norm(dim=1).max()) == pytest.approx(1)


def test_random_polygons_in_every_format_and_dialect(tmp_path: Path):
    for case in range(25):
        check_case(tmp_path, f"0 polygons {case}")
