"""Which faces a click means, against plain loops over corners and edges."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.apps.viewer.tools import FaceTools, View, neighbours
from mvdecor.errors import InputError
from mvdecor.shapes import Shape, Texture


def shape_of(mesh: trimesh.Trimesh) -> Shape:
    return Shape.from_trimesh(mesh)


def soup(seed: int, twins: bool = True) -> Shape:
    """A lumpy ball and two boxes that touch, some windings turned, some twins, corners repeated as a file may do."""
    rng = np.random.default_rng(seed)
    ball = trimesh.creation.icosphere(1).apply_translation([3, 0, 0])
    boxes = [trimesh.creation.box(extents=[1, 1, 1]).apply_translation([x, 0, 0]) for x in (0, 1)]
    corners = np.concatenate([part.triangles for part in (ball, *boxes)]).astype(np.float32)
    turned = rng.random(len(corners)) < 0.3
    corners[turned] = corners[turned][:, ::-1]
    if twins:
        corners = np.concatenate([corners, corners[rng.random(len(corners)) < 0.4][:, [1, 0, 2]]])
    corners = corners[rng.permutation(len(corners))]
    return Shape("soup", torch.from_numpy(corners).reshape(-1, 3), torch.arange(3 * len(corners)).reshape(-1, 3))


def keys(shape: Shape) -> list[list[tuple]]:
    return [[tuple(v) for v in face] for face in shape.vertices[shape.faces].tolist()]


def slow_flood(shape: Shape, first: int, may_pass) -> np.ndarray:
    """Faces reached from one through pairs that share an edge and pass a test; twins go along."""
    corners = keys(shape)
    reached, waiting = {first}, [first]
    while waiting:
        a = waiting.pop()
        for b in range(len(corners)):
            if b in reached:
                continue
            twins = set(corners[a]) == set(corners[b])
            if twins or (len(set(corners[a]) & set(corners[b])) >= 2 and may_pass(a, b)):
                reached.add(b)
                waiting.append(b)
    return np.isin(np.arange(len(corners)), list(reached))


def slow_bend(shape: Shape, a: int, b: int) -> float:
    """Degrees by which two faces that share an edge are bent: 180 less the angle of their two far corners at the edge."""
    first, second = (np.array(keys(shape)[f]) for f in (a, b))
    shared = [p for p in keys(shape)[a] if p in keys(shape)[b]]
    p, q = (np.array(x) for x in shared)
    along = (q - p) / np.linalg.norm(q - p)
    away = []
    for corners in (first, second):
        far = next(c for c in corners if tuple(c) not in shared) - p
        far = far - (far @ along) * along
        away.append(far / np.linalg.norm(far))
    return 180 - math.degrees(math.acos(np.clip(away[0] @ away[1], -1, 1)))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("degrees", [1.0, 50.0, 95.0])
def test_crease_fill_against_a_slow_walk(seed, degrees):
    shape = soup(seed)
    tools = FaceTools(shape)
    for face in range(0, shape.num_faces, 17):
        expected = slow_flood(shape, face, lambda a, b: slow_bend(shape, a, b) <= degrees)
        np.testing.assert_array_equal(tools.crease(face, degrees), expected)


def test_crease_fill_takes_one_side_of_a_box():
    tools = FaceTools(shape_of(trimesh.creation.box()))
    hit = tools.pick([0.2, 0.1, 5], [0, 0, -1])
    normals = trimesh.creation.box().face_normals
    np.testing.assert_array_equal(tools.crease(hit.face, 30), normals[:, 2] > 0.9)
    assert tools.crease(hit.face, 90.1).all()


def test_bend_does_not_depend_on_windings():
    mesh = trimesh.creation.icosphere(1)
    angles = [neighbours(shape_of(mesh))[1]]
    turned = mesh.faces.copy()
    turned[::2] = turned[::2, ::-1]
    angles.append(neighbours(shape_of(trimesh.Trimesh(mesh.vertices, turned, process=False)))[1])
    np.testing.assert_allclose(np.sort(angles[0]), np.sort(np.degrees(mesh.face_adjacency_angles)), atol=1e-3)
    np.testing.assert_allclose(np.sort(angles[0]), np.sort(angles[1]), atol=1e-3)


def test_three_faces_at_one_edge_and_degenerate_faces():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0, -1, 0.0]])
    faces = torch.tensor([[0, 1, 2], [0, 1, 3], [0, 1, 4], [0, 1, 1]])
    shape = Shape("fan", vertices, faces)
    pairs, angles = neighbours(shape)
    bends = {tuple(sorted(p)): a for p, a in zip(pairs.tolist(), angles.tolist(), strict=True) if 3 not in p}
    assert bends == {(0, 1): pytest.approx(90), (0, 2): pytest.approx(0), (1, 2): pytest.approx(90)}
    assert FaceTools(shape).crease(0, 45).tolist() == [True, False, True, False]


@pytest.mark.parametrize("seed", range(3))
def test_component_against_a_slow_walk(seed):
    shape = soup(seed)
    tools, corners = FaceTools(shape), keys(shape)
    expected = {0}
    while True:
        points = {p for f in expected for p in corners[f]}
        grown = {f for f, own in enumerate(corners) if points & set(own)}
        if grown == expected:
            break
        expected = grown
    assert set(np.flatnonzero(tools.component(0)).tolist()) == expected
    assert not tools.component(0).all(), "the ball touches no box"


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2), st.integers(0, 10**6), st.floats(0.0, 2.5))
def test_brush_against_a_slow_walk(seed, number, radius):
    shape = soup(seed)
    face = number % shape.num_faces
    point = shape.face_centers[face].double().numpy() + 0.1
    centers = shape.face_centers.double().numpy()
    near = np.linalg.norm(centers - point, axis=1) <= radius
    twins = [set(c) == set(keys(shape)[face]) for c in keys(shape)]
    near |= np.array(twins)
    expected = slow_flood(shape, face, lambda a, b: near[a] and near[b])
    np.testing.assert_array_equal(FaceTools(shape).brush(face, point, radius), expected)


def test_brush_does_not_paint_through_a_thin_wall():
    sheet = trimesh.creation.box(extents=[2, 2, 0.02]).subdivide().subdivide().subdivide()
    shape = shape_of(sheet)
    tools = FaceTools(shape)
    hit = tools.pick([0.01, 0.02, 5], [0, 0, -1])
    painted = tools.brush(hit.face, hit.point, 0.3)
    assert painted.sum() >= 6
    assert (shape.face_normals[torch.from_numpy(painted)][:, 2] > 0.9).all()


@pytest.mark.parametrize("seed", range(3))
def test_pick_against_every_triangle(seed):
    shape = soup(seed)
    tools = FaceTools(shape)
    rng = np.random.default_rng(seed)
    groups = shape.twin_groups.numpy()
    hits = 0
    for _ in range(60):
        origin = rng.normal(size=3) * 4 + [1.5, 0, 0]
        direction = (rng.normal(size=3) * 0.4 + [1.5, 0, 0] - origin) * rng.uniform(0.1, 3)
        found, expected = tools.pick(origin, direction), slow_pick(shape, origin, direction)
        assert (found is None) == (expected is None)
        if found is not None:
            hits += 1
            assert found.distance == pytest.approx(expected[1], rel=1e-3)
            assert groups[found.face] == found.face
            near = [d for _, d in slow_hits(shape, origin, direction) if abs(d - expected[1]) < 1e-4]
            if len(near) == 1:
                assert found.face == groups[expected[0]]
            np.testing.assert_allclose(found.point, origin + found.distance * direction)
    assert hits > 20


def slow_hits(shape: Shape, origin, direction) -> list[tuple[int, float]]:
    """(face, distance) of every triangle that a ray meets, by solving for it in the triangle's own axes."""
    found = []
    for face, (a, b, c) in enumerate(shape.vertices[shape.faces].double().numpy()):
        matrix = np.stack([b - a, c - a, -direction], axis=1)
        if abs(np.linalg.det(matrix)) < 1e-12:
            continue
        u, v, t = np.linalg.solve(matrix, origin - a)
        if u >= 0 and v >= 0 and u + v <= 1 and t > 0:
            found.append((face, t))
    return found


def slow_pick(shape: Shape, origin, direction):
    return min(slow_hits(shape, origin, direction), key=lambda hit: hit[1], default=None)


def test_material_and_the_largest_piece():
    shape = soup(3)
    images = torch.arange(shape.num_faces) % 3
    colours = tuple(torch.full((1, 1, 3), 80 * k, dtype=torch.uint8) for k in range(3))
    textured = replace(shape, texture=Texture(torch.zeros(shape.num_faces, 3, 2), colours, images))
    corners = [frozenset(face) for face in keys(shape)]
    with_image = {corner for corner, image in zip(corners, images, strict=True) if image == 1}
    meant = FaceTools(textured).material(4)
    np.testing.assert_array_equal(meant, [corner in with_image for corner in corners])  # and the twins of such faces
    with pytest.raises(InputError, match="no materials"):
        FaceTools(shape).material(4)

    tools = FaceTools(shape)
    ball = shape.face_centers.numpy()[:, 0] > 1.6
    face = tools.middle_of_largest(ball | (np.arange(shape.num_faces) % 7 == 0))
    assert ball[face], "the ball is larger than any face of the boxes"
    assert tools.middle_of_largest(np.zeros(shape.num_faces, dtype=bool)) is None
    side = (shape.face_centers.numpy()[:, 0] < 2.7).astype(int)
    alone = ball & (shape.twin_groups.numpy() == np.arange(shape.num_faces))
    areas = [shape.face_areas.numpy()[alone & (side == k)].sum() for k in (0, 1)]
    face = tools.middle_of_largest(ball, side)
    assert side[face] == np.argmax(areas) and face == tools.middle_of_largest(ball, -side)


@pytest.mark.parametrize("seed", range(3))
def test_growing_and_shrinking_against_slow_rings(seed):
    shape = soup(seed)
    tools, corners = FaceTools(shape), [set(face) for face in keys(shape)]

    def twins(faces):
        return {f for f, own in enumerate(corners) if any(own == corners[g] for g in faces)}

    def ring(faces):
        return twins(faces | {f for f, own in enumerate(corners) if any(len(own & corners[g]) >= 2 for g in faces)})

    start = twins({0, shape.num_faces // 2})
    mask = np.isin(np.arange(shape.num_faces), list(start))
    wider = ring(ring(start))
    assert set(np.flatnonzero(tools.grown(mask, 2)).tolist()) == wider
    without = set(range(shape.num_faces)) - wider
    left = wider - ring(without)
    wide = np.isin(np.arange(shape.num_faces), list(wider))
    assert set(np.flatnonzero(tools.shrunk(wide, 1)).tolist()) == left
    np.testing.assert_array_equal(tools.grown(mask, 0), mask)
    first = np.arange(shape.num_faces) == 0
    assert 2 < tools.grown(first, 100).sum() < shape.num_faces, "the ball shares no edge with the boxes"
    assert tools.shrunk(np.ones(shape.num_faces, dtype=bool), 1).all(), "nothing is around all"


def look_at_the_origin(position: list[float], aspect: float) -> View:
    forward = -np.array(position) / np.linalg.norm(position)
    right = np.cross(forward, [0, 1, 0]) / np.linalg.norm(np.cross(forward, [0, 1, 0]))
    return View(np.array(position), np.stack([right, np.cross(forward, right), forward], axis=1), 0.9, aspect)


@pytest.mark.parametrize("seed", range(3))
def test_rectangle_against_every_triangle(seed):
    shape = soup(seed)
    tools, view = FaceTools(shape), look_at_the_origin([2.0, 1.5, 7.0], 1.5)
    low, high = (0.4, 0.3), (0.8, 0.7)
    seen, through = (tools.rectangle(view, low, high, x) for x in (False, True))
    groups = shape.twin_groups.numpy()
    expected_seen, expected_through = np.zeros(shape.num_faces, bool), np.zeros(shape.num_faces, bool)
    for face in np.unique(groups):
        center = shape.face_centers[face].double().numpy()
        x, y, z = ((center - view.position) @ view.rotation[:, k] for k in range(3))
        half = math.tan(0.45)
        place = (0.5 + x / z / (2 * half * 1.5), 0.5 + y / z / (2 * half))
        if z > 0 and all(a <= p <= b for a, p, b in zip(low, place, high, strict=True)):
            expected_through[groups == face] = True
            first = slow_pick(shape, view.position, center - view.position)
            expected_seen[groups == face] = first[1] > 1 - 1e-4
    np.testing.assert_array_equal(seen, expected_seen)
    np.testing.assert_array_equal(through, expected_through)
    assert 0 < seen.sum() < through.sum() < shape.num_faces


def test_hidden_faces_are_not_in_the_way():
    tools = FaceTools(shape_of(trimesh.creation.box()))
    front = tools.pick([0.2, 0.1, 5], [0, 0, -1])
    tools.show(~tools.crease(front.face, 30))
    behind = tools.pick([0.2, 0.1, 5], [0, 0, -1])
    assert behind.distance > front.distance + 0.9
    tools.show(np.zeros(12, dtype=bool))
    assert tools.pick([0.2, 0.1, 5], [0, 0, -1]) is None


def test_stroke_is_all_that_the_brush_paints_on_its_way():
    tools = FaceTools(soup(1))
    hits = [tools.pick([3 + x, 0.1, 5], [0, 0, -1]) for x in (-0.5, 0, 0.5)]
    expected = np.logical_or.reduce([tools.brush(hit.face, hit.point, 0.4) for hit in hits])
    np.testing.assert_array_equal(tools.stroke(hits, 0.4), expected)
    assert not tools.stroke([], 0.4).any()


@pytest.mark.parametrize("tolerance", [0.0, 0.3])
def test_region_of_a_colour_against_a_slow_walk(tolerance):
    shape = soup(2)
    colours = np.array([[0, 0, 0], [50, 60, 0], [255, 255, 255]])
    ids = torch.from_numpy(np.random.default_rng(0).integers(0, 3, shape.num_faces))
    images = tuple(torch.full((1, 1, 3), 0, dtype=torch.uint8) + torch.from_numpy(c).to(torch.uint8) for c in colours)
    textured = replace(shape, texture=Texture(torch.zeros(shape.num_faces, 3, 2), images, ids))
    of_face = colours[ids.numpy()]
    groups = shape.twin_groups.numpy()
    near = np.abs(of_face - of_face[5]).max(axis=1) <= 255 * tolerance + 1e-9
    near[groups[5]] = True
    expected = slow_flood(shape, 5, lambda a, b: near[groups[a]] and near[groups[b]])
    np.testing.assert_array_equal(FaceTools(textured).region(5, tolerance), expected)
    with pytest.raises(InputError, match="no texture"):
        FaceTools(shape).region(5, tolerance)


def test_object_of_the_file():
    shape = soup(3)
    objects = np.arange(shape.num_faces) % 4
    corners = [frozenset(face) for face in keys(shape)]
    inside = {corner for corner, number in zip(corners, objects, strict=True) if number == 2}
    tools = FaceTools(shape, lambda: objects)
    np.testing.assert_array_equal(tools.object(6), [corner in inside for corner in corners])
    for none in (None, lambda: None, lambda: np.zeros(shape.num_faces, int)):
        with pytest.raises(InputError, match="no more than one object"):
            FaceTools(shape, none).object(6)
