"""Metrics against loops over points and areas, both protocols, and what must not be counted."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.evaluation import PROTOCOLS, PartMetrics
from mvdecor.shapes.shape import Shape

NAMES = ("seat", "leg", "arm", "back")


def shape_of(id: str, labels: list[int], areas: list[float] | None = None, names=NAMES) -> Shape:
    """Separate right triangles of the given areas."""
    areas = areas or [1.0] * len(labels)
    corners = [[[0, 0, 3 * i], [2 * a, 0, 3 * i], [0, 1, 3 * i]] for i, a in enumerate(areas)]
    vertices = torch.tensor(corners, dtype=torch.float32).reshape(-1, 3)
    faces = torch.arange(len(vertices)).reshape(-1, 3)
    return Shape(id, vertices, faces, torch.tensor(labels), tuple(names))


def slow_ious(cases, num_labels):
    """Area-weighted (truth, prediction, share) loops: pooled part IoUs, a shape's IoUs, accuracy. None = no union."""
    pooled = [[0.0, 0.0] for _ in range(num_labels)]
    of_shapes, right, counted = [], 0.0, 0.0
    for truth, predicted, areas in cases:
        own = [[0.0, 0.0] for _ in range(num_labels)]
        for t, p, a in zip(truth, predicted, areas, strict=True):
            if t < 0:
                continue
            share = a / sum(areas)
            counted += share
            right += share * (t == p)
            for k in {t, p}:
                for tally in (pooled[k], own[k]):
                    tally[0] += share * (t == p)
                    tally[1] += share
        of_shapes.append([100 * i / u for i, u in own if u > 0])
    parts = [100 * i / u if u > 0 else None for i, u in pooled]
    shapes = [sum(x) / len(x) for x in of_shapes if x]
    return parts, shapes, (100 * right / counted if counted else None)


@st.composite
def labelled_shapes(draw):
    num_labels = draw(st.integers(1, 4))
    cases = []
    for _ in range(draw(st.integers(1, 4))):
        n = draw(st.integers(1, 12))
        truth = draw(st.lists(st.integers(-1, num_labels - 1), min_size=n, max_size=n))
        predicted = draw(st.lists(st.integers(0, num_labels - 1), min_size=n, max_size=n))
        cases.append((truth, predicted, draw(st.lists(st.sampled_from([0.5, 1.0, 4.0]), min_size=n, max_size=n))))
    return num_labels, cases


@settings(max_examples=60, deadline=None)
@given(labelled_shapes())
def test_exact_areas_equal_a_loop_over_faces(example):
    num_labels, cases = example
    parts, shapes, accuracy = slow_ious(cases, num_labels)
    confusion = [[0.0] * num_labels for _ in range(num_labels)]
    for truth, predicted, areas in cases:
        for t, p, a in zip(truth, predicted, areas, strict=True):
            if t >= 0:
                confusion[t][p] += a / sum(areas)
    for protocol in PROTOCOLS:
        metrics = PartMetrics(NAMES[:num_labels], protocol, points=0)
        for i, (truth, predicted, areas) in enumerate(cases):
            metrics.add(shape_of(str(i), truth, areas, NAMES[:num_labels]), torch.tensor(predicted))
        result = metrics.result()
        assert [pytest.approx(row) for row in confusion] == result["confusion"]
        if accuracy is None:
            assert result["part_miou"] is result["shape_miou"] is result["accuracy"] is None
            continue
        present = [x for x in parts if x is not None]
        mean = sum(present) / (num_labels if protocol == "mvdecor" else len(present))
        assert result["part_miou"] == pytest.approx(mean)
        if protocol != "shapenet":  # see test_metrics_points.py
            assert result["shape_miou"] == pytest.approx(sum(shapes) / len(shapes))
        assert result["accuracy"] == pytest.approx(accuracy)
        for name, iou in zip(NAMES, parts, strict=False):
            expected = iou if iou is not None else 0.0 if protocol == "mvdecor" else None
            assert result["parts"][name] == (None if expected is None else pytest.approx(expected))


def test_points_count_like_a_loop_over_the_same_points():
    """Which points were sampled is not public, but a face is right or wrong as a whole, so IoUs tell their numbers."""
    shape = shape_of("a", [0, 0, 1], [1.0, 2.0, 3.0])
    metrics = PartMetrics(NAMES, points=500, seed=3)
    metrics.add(shape, torch.tensor([0, 1, 1]))
    result = metrics.result()
    # a, b, c points on the three faces: IoU 0 = a / (a + b), IoU 1 = c / (b + c), accuracy = (a + c) / 500
    wrong = 500 - round(result["accuracy"] * 5)
    fits = [
        a
        for a in range(500 - wrong + 1)
        if math.isclose(result["parts"]["seat"], 100 * a / (a + wrong))
        and math.isclose(result["parts"]["leg"], 100 * (500 - wrong - a) / (500 - a))
    ]
    assert len(fits) == 1
    assert fits[0] == pytest.approx(500 / 6, abs=45) and wrong == pytest.approx(500 / 3, abs=60)


def test_many_points_come_close_to_exact_areas():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(-1, 4, (300,), generator=generator)
    predicted = torch.where(torch.rand(300, generator=generator) < 0.7, truth.clamp_min(0), 2)
    shape = shape_of("a", truth.tolist(), (torch.rand(300, generator=generator) + 0.1).tolist())
    results = []
    for points in (0, 30_000):
        metrics = PartMetrics(NAMES, points=points)
        metrics.add(shape, predicted)
        results.append(metrics.result())
    for key in ("part_miou", "shape_miou", "accuracy"):
        assert results[1][key] == pytest.approx(results[0][key], abs=1.5)
        assert results[1][key] != results[0][key]


def test_samples_depend_on_seed_and_id_but_not_on_order():
    shapes = [shape_of(id, [0, 1, 2, 3, 0, 1], [1, 2, 1, 3, 1, 1]) for id in "abc"]
    predicted = torch.tensor([0, 1, 2, 0, 0, 2])

    def measure(order, seed=0):
        metrics = PartMetrics(NAMES, points=200, seed=seed)
        for i in order:
            metrics.add(shapes[i], predicted)
        return metrics.result()

    assert measure([0, 1, 2]) == measure([2, 0, 1])
    assert measure([0, 1, 2])["part_miou"] != measure([0, 1, 2], seed=1)["part_miou"]
    of_shapes = measure([0, 1, 2])["shapes"]
    assert of_shapes["a"] != of_shapes["b"]


def test_absent_parts_count_zero_or_are_left_out():
    shape = shape_of("a", [0, 0, 1, 1])
    results = {}
    for protocol in PROTOCOLS:
        metrics = PartMetrics(NAMES, protocol, points=100)
        metrics.add(shape, torch.tensor([0, 0, 1, 1]))
        results[protocol] = metrics.result()
    assert results["mvdecor"]["part_miou"] == pytest.approx(50)
    assert results["mvdecor"]["parts"] == {"seat": 100, "leg": 100, "arm": 0, "back": 0}
    for protocol in ("partnet", "shapenet"):
        assert results[protocol]["part_miou"] == pytest.approx(100)
        assert results[protocol]["parts"] == {"seat": 100, "leg": 100, "arm": None, "back": None}
    for result in results.values():
        assert result["absent"] == ["arm", "back"]
        assert result["shape_miou"] == pytest.approx(100)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_parts_never_predicted_or_only_predicted_count_zero(protocol):
    metrics = PartMetrics(NAMES[:3], protocol, points=0)
    metrics.add(shape_of("a", [0, 0, 1], names=NAMES[:3]), torch.tensor([0, 0, 2]))
    result = metrics.result()
    assert result["parts"] == {"seat": 100, "leg": 0, "arm": 0}
    assert result["part_miou"] == pytest.approx(100 / 3)
    assert result["absent"] == []


@pytest.mark.parametrize("points", [0, 1000])
def test_undetermined_faces_never_count(points):
    results = []
    for wrong in (0, 3):
        metrics = PartMetrics(NAMES, points=points)
        metrics.add(shape_of("a", [0, 1, -1, -1], [1, 1, 5, 5]), torch.tensor([0, 1, wrong, wrong]))
        results.append(metrics.result())
    assert results[0] == results[1]
    assert results[0]["accuracy"] == pytest.approx(100)
    assert results[0]["parts"]["back"] == 0 and "back" in results[0]["absent"]


@pytest.mark.parametrize("points", [0, 1000])
def test_shapes_without_a_known_face_contribute_nothing_and_are_listed(points):
    metrics = PartMetrics(NAMES, points=points)
    metrics.add(shape_of("known", [0, 1]), torch.tensor([0, 0]))
    alone = metrics.result()
    metrics.add(shape_of("unknown", [-1, -1]), torch.tensor([2, 3]))
    both = metrics.result()
    assert both.pop("undetermined_shapes") == ["unknown"] and alone.pop("undetermined_shapes") == []
    assert both == alone


def test_nothing_counted_gives_no_number():
    metrics = PartMetrics(NAMES)
    assert metrics.result()["part_miou"] is None
    metrics.add(shape_of("unknown", [-1]), torch.tensor([0]))
    result = metrics.result()
    assert result["part_miou"] is result["shape_miou"] is result["accuracy"] is None
    assert set(result["parts"].values()) == {None}
    json.dumps(result, allow_nan=False)


def test_parts_that_a_shape_lacks_count_100_in_its_iou_under_shapenet():
    results = []
    for protocol in ("partnet", "shapenet"):
        metrics = PartMetrics(NAMES, protocol, points=0)
        metrics.add(shape_of("a", [0, 0, 1, 1]), torch.tensor([0, 0, 0, 1]))  # seat 2/3, leg 1/2
        metrics.add(shape_of("b", [0, 1, 2, 3]), torch.tensor([0, 1, 2, 2]))  # 1, 1, 1/2, and the back 0: it is there
        results.append(metrics.result())
    partnet, shapenet = ({id: shape["miou"] for id, shape in result["shapes"].items()} for result in results)
    assert partnet == pytest.approx({"a": 100 * (2 / 3 + 1 / 2) / 2, "b": 62.5})
    assert shapenet == pytest.approx({"a": 100 * (2 / 3 + 1 / 2 + 2) / 4, "b": 62.5})
    assert results[1]["shape_miou"] == pytest.approx(sum(shapenet.values()) / 2)
    assert results[0]["part_miou"] == results[1]["part_miou"]


def test_pooling_is_over_shapes_before_the_mean():
    """Part 0 fills shape a (right everywhere) and a tenth of b (wrong there): pooled 1 / 1.1, not (1 + 0) / 2."""
    metrics = PartMetrics(NAMES[:2], points=0)
    metrics.add(shape_of("a", [0], names=NAMES[:2]), torch.tensor([0]))
    metrics.add(shape_of("b", [0, 1], [1, 9], NAMES[:2]), torch.tensor([1, 1]))
    result = metrics.result()
    assert result["parts"]["seat"] == pytest.approx(100 / 1.1)
    assert result["shapes"]["b"]["parts"] == {"seat": 0, "leg": pytest.approx(90)}
    assert result["shape_miou"] == pytest.approx((100 + 45) / 2)


def test_renaming_labels_renames_the_result_and_scale_does_not_matter():
    generator = torch.Generator().manual_seed(1)
    truth, predicted = torch.randint(0, 4, (2, 50), generator=generator)
    order = torch.tensor([2, 0, 3, 1])
    shape = shape_of("a", truth.tolist())
    large = Shape("a", shape.vertices * 7, shape.faces, order[truth], tuple(NAMES))
    results = []
    for s, p in ((shape, predicted), (large, order[predicted])):
        metrics = PartMetrics(NAMES, points=2000)
        metrics.add(s, p)
        results.append(metrics.result())
    for i, name in enumerate(NAMES):
        assert results[1]["parts"][NAMES[order[i]]] == pytest.approx(results[0]["parts"][name])
    assert results[1]["part_miou"] == pytest.approx(results[0]["part_miou"])


def test_result_is_json():
    metrics = PartMetrics(NAMES, "partnet", points=10, seed=4)
    metrics.add(shape_of("a", [0, 1, -1]), torch.tensor([0, 0, 0]))
    result = metrics.result()
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    assert (result["protocol"], result["points"], result["seed"]) == ("partnet", 10, 4)


@pytest.mark.parametrize(
    ("labels", "predicted", "message"),
    [
        ([0, 1], [0], r"shape a: predictions must be int64 \[2\]"),
        ([0, 1], [0.0, 1.0], "shape a: predictions must be int64"),
        ([0, 1], [0, 4], "shape a: predictions span 0..4; allowed are 0..3"),
        ([0, 1], [-1, 0], "shape a: predictions span -1..0"),
    ],
)
def test_predictions_that_do_not_fit_are_refused(labels, predicted, message):
    with pytest.raises(InputError, match=message):
        PartMetrics(NAMES).add(shape_of("a", labels), torch.tensor(predicted))


def test_bad_shapes_and_options_are_refused():
    metrics, zero = PartMetrics(NAMES), torch.tensor([0])
    metrics.add(shape_of("a", [0]), zero)
    with pytest.raises(InputError, match="shape a: added twice"):
        metrics.add(shape_of("a", [0]), zero)
    with pytest.raises(InputError, match="shape b: its label names"):
        metrics.add(shape_of("b", [0], names=("lid",)), zero)
    with pytest.raises(InputError, match=r"shape c: .*zero area"):
        metrics.add(Shape("c", torch.zeros(3, 3), torch.tensor([[0, 1, 2]]), zero, NAMES), zero)
    with pytest.raises(InputError, match="shape d: it has no face labels"):
        metrics.add(Shape("d", torch.rand(3, 3), torch.tensor([[0, 1, 2]]), None, NAMES), zero)
    with pytest.raises(InputError, match=r"'scannet'.*mvdecor, partnet, shapenet"):
        PartMetrics(NAMES, "scannet")
    with pytest.raises(InputError, match="-1 evaluation points"):
        PartMetrics(NAMES, points=-1)
    with pytest.raises(InputError, match=r"doubled.*leg"):
        PartMetrics(("leg", "seat", "leg"))
