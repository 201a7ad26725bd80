"""Metrics of sampled points against loops over every single point."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.evaluation import PROTOCOLS, PartMetrics
from mvdecor.shapes.shape import Shape

NAMES = ("lid", "neck", "body", "handle", "foot")
POINTS, SEED = 40, 5


def triangles(id, areas, truth, names):
    """Separate right triangles of the given areas."""
    corners = [[[i, 0, 0], [i, 2 * area, 0], [i, 0, 1]] for i, area in enumerate(areas)]
    vertices = torch.tensor(corners, dtype=torch.float32).reshape(-1, 3)
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    return Shape(id, vertices, faces, torch.tensor(truth), tuple(names))


def sampled_faces(id, areas):
    """The face of each sampled point, found through the metric itself.

    With a label of its own for each face and face j predicted everywhere, the IoU of label j is the share of the points
    that lie on face j. The sample depends on the seed and the shape's id, not on labels.
    """
    names = [str(i) for i in range(len(areas))] + ["spare"]
    points = []
    for face in range(len(areas)):
        metrics = PartMetrics(names, points=POINTS, seed=SEED)
        metrics.add(triangles(id, areas, range(len(areas)), names), torch.full((len(areas),), face))
        points += [face] * round(metrics.result()["parts"][str(face)] * POINTS / 100)
    assert len(points) == POINTS
    return points


def intersection_and_union(points, truth, predicted, part):
    """Of one part, point by point; points of undetermined faces are not there at all."""
    intersection = union = 0
    for face in points:
        if truth[face] == -1:
            continue
        if truth[face] == part and predicted[face] == part:
            intersection += 1
        if truth[face] == part or predicted[face] == part:
            union += 1
    return intersection, union


def slow_part_miou(cases, num_parts, protocol):
    """Intersections and unions are summed over shapes; parts without a union count 0 or not at all."""
    ious = []
    for part in range(num_parts):
        pairs = [intersection_and_union(points, truth, predicted, part) for points, truth, predicted in cases]
        intersection, union = sum(i for i, _ in pairs), sum(u for _, u in pairs)
        if union > 0:
            ious.append(100 * intersection / union)
        elif protocol == "mvdecor":
            ious.append(0.0)
    return sum(ious) / len(ious)


def slow_shape_miou(cases, num_parts, protocol):
    """The mean over shapes of the mean over the parts that a shape's truth or prediction has; under shapenet over all,
    the others with 100."""
    of_shapes = []
    for points, truth, predicted in cases:
        pairs = [intersection_and_union(points, truth, predicted, part) for part in range(num_parts)]
        ious = [100 * i / u for i, u in pairs if u > 0]
        if ious:  # else no point of the shape is labelled
            ious += [100] * (num_parts - len(ious)) if protocol == "shapenet" else []
            of_shapes.append(sum(ious) / len(ious))
    return sum(of_shapes) / len(of_shapes)


def slow_confusion(cases, num_parts):
    """Points by true part (rows) and predicted part (columns), one after the other."""
    matrix = [[0] * num_parts for _ in range(num_parts)]
    for points, truth, predicted in cases:
        for face in points:
            if truth[face] != -1:
                matrix[truth[face]][predicted[face]] += 1
    return matrix


def check(num_parts, shapes):
    """Compare the metric with the loops; `shapes` are (areas, truth, predicted) of each shape."""
    names = NAMES[:num_parts]
    cases = [(sampled_faces(str(n), areas), truth, predicted) for n, (areas, truth, predicted) in enumerate(shapes)]
    counted = any(truth[face] != -1 for points, truth, _ in cases for face in points)
    for protocol in PROTOCOLS:
        metrics = PartMetrics(names, protocol, POINTS, SEED)
        for n, (areas, truth, predicted) in enumerate(shapes):
            metrics.add(triangles(str(n), areas, truth, names), torch.tensor(predicted))
        result = metrics.result()
        assert result["confusion"] == slow_confusion(cases, num_parts)
        if not counted:
            assert result["part_miou"] is result["shape_miou"] is None
            continue
        assert result["part_miou"] == pytest.approx(slow_part_miou(cases, num_parts, protocol))
        assert result["shape_miou"] == pytest.approx(slow_shape_miou(cases, num_parts, protocol))


@st.composite
def labelled_shapes(draw):
    num_parts = draw(st.integers(1, len(NAMES)))
    # few of the parts, so that some are in no truth, some in no prediction and some in neither
    true_parts = st.sampled_from(draw(st.lists(st.integers(-1, num_parts - 1), min_size=1, max_size=3)))
    predicted_parts = st.sampled_from(draw(st.lists(st.integers(0, num_parts - 1), min_size=1, max_size=3)))
    shapes = []
    for _ in range(draw(st.integers(1, 3))):
        n = draw(st.integers(1, 5))
        areas = draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=n, max_size=n))
        truth = draw(st.lists(true_parts, min_size=n, max_size=n))
        predicted = draw(st.lists(predicted_parts, min_size=n, max_size=n))
        shapes.append((areas, truth, predicted))
    return num_parts, shapes


@settings(max_examples=40, deadline=None)
@given(labelled_shapes())
def test_random_cases(shapes):
    check(*shapes)


@pytest.mark.parametrize(
    ("num_parts", "shapes"),
    [
        (5, [([1.0, 1.0], [0, 1], [0, 1])]),  # parts 2 to 4 absent from truth and prediction
        (3, [([1.0, 1.0, 1.0], [0, 1, 2], [0, 0, 0])]),  # parts 1 and 2 never predicted
        (3, [([1.0, 1.0], [0, 0], [1, 2])]),  # parts that are predicted only
        (3, [([1.0, 3.0], [0, -1], [0, 2])]),  # part 2 is predicted on an undetermined face only: absent
        (2, [([1.0], [0], [0]), ([0.5, 1.0], [-1, -1], [1, 1])]),  # a shape with no known face
        (2, [([1.0], [-1], [0])]),  # nothing to count
        (1, [([1.0, 0.5], [0, -1], [0, 0])]),
    ],
)
def test_chosen_cases(num_parts, shapes):
    check(num_parts, shapes)
