"""Votes spread over the surface: against a slow solve, against analysis, and what they must not cross."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.lifting import FaceVotes, fill_unseen, smooth_votes
from mvdecor.lifting.smooth import LEAK
from mvdecor.shapes.shape import Shape


def band(columns: int, length: float, width: float = 0.1, z: float = 0.0) -> Shape:
    """A flat strip along x from 0 to `length`, 2 triangles in each of its columns."""
    x = torch.linspace(0, length, columns + 1)
    vertices = torch.cat([torch.stack([x, torch.full_like(x, y), torch.full_like(x, z)], 1) for y in (0.0, width)])
    low = torch.arange(columns)
    high = low + columns + 1
    faces = torch.stack([torch.stack([low, low + 1, high], 1), torch.stack([high, low + 1, high + 1], 1)], 1)
    return Shape("band", vertices, faces.reshape(-1, 3))


def cube(steps: int = 4) -> Shape:
    """A cube of side 1, each side of steps x steps squares of two triangles."""
    grid = torch.linspace(-0.5, 0.5, steps + 1)
    u, v = (x.reshape(-1) for x in torch.meshgrid(grid, grid, indexing="ij"))
    number = torch.arange((steps + 1) ** 2).view(steps + 1, steps + 1)
    a, b, c, d = (x.reshape(-1) for x in (number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]))
    square = torch.cat([torch.stack([a, b, c], 1), torch.stack([a, c, d], 1)])
    vertices, faces = [], []
    for axis in range(3):
        for side in (-0.5, 0.5):
            points = torch.empty(len(u), 3)
            points[:, axis], points[:, axis - 2], points[:, axis - 1] = side, u, v
            faces.append(square + len(vertices) * len(u))
            vertices.append(points)
    welded, number = torch.cat(vertices).unique(dim=0, return_inverse=True)
    return Shape("cube", welded, number[torch.cat(faces)])


def joined(*shapes: Shape) -> Shape:
    """Several meshes as one."""
    starts = np.cumsum([0, *(len(shape.vertices) for shape in shapes)])
    faces = torch.cat([shape.faces + int(start) for shape, start in zip(shapes, starts)])
    return Shape("joined", torch.cat([shape.vertices for shape in shapes]), faces)


def votes_on(shape: Shape, seen: torch.Tensor, labels: int = 3, seed: int = 0) -> FaceVotes:
    """Random votes on the faces of `seen`, twins alike."""
    groups = shape.twin_groups
    seen = torch.zeros_like(seen).index_put_((groups[seen],), torch.tensor(True))[groups]
    scores = torch.rand(shape.num_faces, labels, generator=torch.Generator().manual_seed(seed))[groups]
    scores = torch.where(seen[:, None], scores / scores.sum(dim=1, keepdim=True), 0.0)
    return FaceVotes(scores, seen, seen.float(), scores, scores)


def by_loops(shape: Shape, votes: FaceVotes, radius: float, crease: float) -> np.ndarray:
    """The same minimum by a dense matrix filled edge by edge, for meshes without twins whose faces all have an area."""
    corners, points = shape.corners.tolist(), shape.vertices[shape.faces].double().numpy()
    n = shape.num_faces
    matrix, right = np.zeros((n, n)), np.zeros((n, votes.scores.shape[1]))
    for f in range(n):
        if votes.seen[f]:
            area = 0.5 * np.linalg.norm(np.cross(points[f, 1] - points[f, 0], points[f, 2] - points[f, 0]))
            matrix[f, f] += area
            right[f] = area * votes.scores[f].double().numpy()
        for g in range(f):
            shared = [(i, corners[g].index(c)) for i, c in enumerate(corners[f]) if c in corners[g]]
            if len(shared) != 2:
                continue
            p, q = points[f][shared[0][0]], points[f][shared[1][0]]
            length = np.linalg.norm(q - p)
            heights, normals = [], []
            for face, shared_corners in ((f, [i for i, _ in shared]), (g, [j for _, j in shared])):
                apex = points[face][({0, 1, 2} - set(shared_corners)).pop()]
                heights.append(np.linalg.norm(np.cross(apex - p, q - p)) / length)
                normals.append(np.cross(q - p, apex - p))
            # the normals of a flat pair, both taken from the same edge, are opposite
            fold = math.pi - math.acos(np.clip(np.dot(*(x / np.linalg.norm(x) for x in normals)), -1, 1))
            weight = radius**2 * length / (sum(heights) / 3) * (1 if math.degrees(fold) <= crease else LEAK)
            for i, j in ((f, g), (g, f)):
                matrix[i, i] += weight
                matrix[i, j] -= weight
    return np.linalg.solve(matrix, right)


@pytest.mark.parametrize("crease", [10.0, 40.0, 120.0])
@pytest.mark.parametrize("radius", [0.01, 0.3])
def test_it_is_the_minimum_that_a_dense_solve_gives(radius, crease):
    bent = cube(2)
    bent = Shape(
        "bent", bent.vertices * torch.tensor([1.0, 0.4, 2.0]) + 0.1 * bent.vertices[:, [1, 2, 0]] ** 2, bent.faces
    )
    votes = votes_on(bent, torch.arange(bent.num_faces) % 3 > 0)
    smoothed, arrived = smooth_votes(bent, votes, radius, crease)
    assert bool(arrived.all())
    expected = by_loops(bent, votes, radius, crease)
    torch.testing.assert_close(smoothed.scores, torch.from_numpy(expected).float(), atol=1e-5, rtol=1e-4)
    for field in (smoothed.probabilities, smoothed.images):  # here the same votes
        torch.testing.assert_close(field, smoothed.scores)


@given(st.integers(1, 200), st.integers(0, 10**6), st.floats(0.003, 2), st.floats(0, 180))
@settings(max_examples=25, deadline=None)
def test_rows_stay_distributions_and_order_and_winding_do_not_matter(share, seed, radius, crease):
    shape = joined(cube(2), band(3, 0.7, z=3.0))
    generator = torch.Generator().manual_seed(seed)
    votes = votes_on(shape, torch.rand(shape.num_faces, generator=generator) < share / 200, seed=seed)
    if not bool(votes.seen.any()):
        return
    smoothed, arrived = smooth_votes(shape, votes, radius, crease)
    sums = smoothed.scores.sum(dim=1)
    torch.testing.assert_close(sums, arrived.float(), atol=1e-4, rtol=0)
    low, high = votes.scores[votes.seen].amin(0), votes.scores[votes.seen].amax(0)
    assert bool((smoothed.scores[arrived] >= low - 1e-4).all() and (smoothed.scores[arrived] <= high + 1e-4).all())
    order = torch.randperm(shape.num_faces, generator=generator)
    turned = shape.faces[order][:, [0, 2, 1]]
    again, _ = smooth_votes(
        Shape("turned", shape.vertices, turned),
        FaceVotes(votes.scores[order], votes.seen[order], votes.weight[order]),
        radius,
        crease,
    )
    torch.testing.assert_close(again.scores, smoothed.scores[order], atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("columns", [60, 240])
def test_a_step_decays_over_the_radius_whatever_the_size_of_the_triangles(columns):
    """Of S - r^2 S'' = step(x) on a line the solution is 1 - exp(-x/r)/2 on the upper side."""
    shape, radius = band(columns, 2.0), 0.15
    x = shape.face_centers[:, 0]
    upper = (x > 1).float()
    seen = torch.ones(shape.num_faces, dtype=torch.bool)
    smoothed, _ = smooth_votes(shape, FaceVotes(torch.stack([1 - upper, upper], 1), seen, seen.float()), radius, 40)
    distance = (x - 1).abs()
    expected = torch.where(x > 1, 1 - torch.exp(-distance / radius) / 2, torch.exp(-distance / radius) / 2)
    torch.testing.assert_close(smoothed.scores[:, 1], expected, atol=0.03, rtol=0)


def test_between_two_seen_ends_scores_are_linear():
    shape = band(40, 2.0)
    x = shape.face_centers[:, 0]
    seen = (x < 0.05) | (x > 1.95)
    upper = (x > 1).float()
    scores = torch.where(seen[:, None], torch.stack([1 - upper, upper], 1), 0.0)
    smoothed, _ = smooth_votes(shape, FaceVotes(scores, seen, seen.float()), 0.01, 40)
    torch.testing.assert_close(smoothed.scores[:, 1], x / 2, atol=0.06, rtol=0)


def test_a_crease_stops_votes_but_an_unseen_side_still_takes_its_neighbours():
    shape = cube()
    side = torch.arange(6).repeat_interleave(shape.num_faces // 6)
    label = (side % 2).clone()
    votes = FaceVotes(torch.nn.functional.one_hot(label, 2).float(), side < 5, (side < 5).float())
    votes.scores[side == 5] = 0
    smoothed, arrived = smooth_votes(shape, votes, 0.5, 40)
    assert bool(arrived.all())
    torch.testing.assert_close(smoothed.scores[side < 5], votes.scores[side < 5], atol=0.05, rtol=0)
    # its four neighbours are sides 0 to 3: two of each label
    torch.testing.assert_close(smoothed.scores[side == 5].mean(0), torch.tensor([0.5, 0.5]), atol=0.01, rtol=0)
    over, _ = smooth_votes(shape, votes, 0.5, 100)
    assert float((over.scores - smoothed.scores)[side < 5].abs().max()) > 0.2, "over a crease that is none they mix"


def test_nothing_passes_to_another_component_and_an_unseen_one_copies():
    near, far = band(4, 0.4), band(4, 0.4, z=0.01)
    shape = joined(near, far, band(4, 0.4, z=0.5))
    part = torch.arange(3).repeat_interleave(near.num_faces)
    scores = torch.nn.functional.one_hot(part.clamp(max=1), 2).float() * (part < 2)[:, None]
    votes = FaceVotes(scores, part < 2, (part < 2).float())
    smoothed, arrived = smooth_votes(shape, votes, 1.0, 180)
    assert arrived.tolist() == (part < 2).tolist()
    torch.testing.assert_close(smoothed.scores, scores)
    labels = fill_unseen(shape, votes, smooth=1.0)
    assert labels.labels.tolist() == [0] * 8 + [1] * 16 and labels.filled.tolist() == (part == 2).tolist()


def test_components_of_the_file_that_touch_are_not_mixed_but_a_soup_is_one_surface():
    left = band(8, 1.0)
    right = Shape("right", left.vertices + torch.tensor([1.0, 0.0, 0.0]), left.faces)
    shape = joined(left, right)
    label = torch.arange(2).repeat_interleave(left.num_faces)
    seen = torch.ones(shape.num_faces, dtype=torch.bool)
    votes = FaceVotes(torch.nn.functional.one_hot(label, 2).float(), seen, seen.float())
    smoothed, _ = smooth_votes(shape, votes, 0.3, 40)
    torch.testing.assert_close(smoothed.scores, votes.scores, atol=0.01, rtol=0)
    soup = Shape("soup", shape.vertices[shape.faces].reshape(-1, 3), torch.arange(3 * shape.num_faces).view(-1, 3))
    expected, _ = smooth_votes(band(16, 2.0), votes, 0.3, 40)
    mixed, _ = smooth_votes(soup, votes, 0.3, 40)
    torch.testing.assert_close(mixed.scores, expected.scores, atol=1e-4, rtol=0)
    assert float((mixed.scores - votes.scores).abs().max()) > 0.3


def test_twins_are_one_face():
    front = band(6, 0.6)
    doubled = joined(front, Shape("back", front.vertices, front.faces[:, [0, 2, 1]]))
    seen = torch.arange(12) < 6
    alone = votes_on(front, seen)
    both = FaceVotes(alone.scores.repeat(2, 1), alone.seen.repeat(2), alone.weight.repeat(2))
    expected, _ = smooth_votes(front, alone, 0.2, 40)
    smoothed, _ = smooth_votes(doubled, both, 0.2, 40)
    torch.testing.assert_close(smoothed.scores, expected.scores.repeat(2, 1))


def test_filling_marks_what_no_pixel_saw_and_gives_smoothed_confidence():
    shape = band(20, 2.0)
    x = shape.face_centers[:, 0]
    votes = votes_on(shape, x < 1.5)
    labels = fill_unseen(shape, votes, smooth=0.05)
    smoothed, _ = smooth_votes(shape, votes, 0.05, 40)
    assert labels.labels.tolist() == smoothed.scores.argmax(1).tolist()
    assert labels.filled.tolist() == (x >= 1.5).tolist()
    assert labels.coverage == fill_unseen(shape, votes).coverage
    torch.testing.assert_close(labels.confidence, smoothed.scores.amax(1))


def test_slivers_and_faces_without_area_do_no_harm():
    shape = band(5, 1.0)
    extra = torch.tensor([[0, 1, 1], [2, 2, 2], [0, 1, 2]])  # twice a corner, thrice, three in a row
    shape = Shape("bad", shape.vertices, torch.cat([shape.faces, extra]))
    for unseen in range(shape.num_faces):
        votes = votes_on(shape, torch.arange(shape.num_faces) != unseen)
        smoothed, arrived = smooth_votes(shape, votes, 0.1, 40)
        assert bool(smoothed.scores.isfinite().all())
        torch.testing.assert_close(smoothed.scores.sum(1), arrived.float(), atol=1e-4, rtol=0)
