"""Reliability and calibration error against slow loops and cases with a known answer; temperatures that are known."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.errors import InputError
from mvdecor.evaluation import Reliability, area_mean, describe_calibration, fit_temperature
from mvdecor.evaluation.calibration import BINS, rank_correlation, told_apart
from mvdecor.shapes import Shape


def triangles(areas, truth, id: str = "t") -> Shape:
    """Separate triangles of given areas, with labels a, b, c."""
    sides = np.sqrt(2 * np.asarray(areas, dtype=np.float64))
    corners = np.zeros((len(sides), 3, 3))
    corners[:, 1, 0] = corners[:, 2, 1] = sides
    corners[..., 2] = np.arange(len(sides))[:, None]
    vertices = torch.from_numpy(corners.reshape(-1, 3)).float()
    faces = torch.arange(3 * len(sides)).reshape(-1, 3)
    return Shape(id, vertices, faces, torch.as_tensor(truth), ("a", "b", "c"))


def measured(areas, truth, predicted, confidence, id: str = "t") -> Reliability:
    reliability = Reliability()
    confidence = torch.as_tensor(confidence, dtype=torch.float32)
    shape = triangles(areas, truth, id)
    reliability.add(shape, torch.as_tensor(predicted), confidence, torch.zeros(len(confidence)))
    return reliability


def slow_ece(rows) -> float:
    """Rows (weight, confidence, right) of all faces, weights summing to 1; percent."""
    error = 0.0
    for b in range(BINS):
        inside = [row for row in rows if b / BINS <= row[1] < (b + 1) / BINS or (b == BINS - 1 and row[1] == 1.0)]
        total = sum(w for w, _, _ in inside)
        if total > 0:
            error += abs(sum(w * c for w, c, _ in inside) - sum(w * r for w, _, r in inside))
    return 100 * error


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.floats(0.1, 9), st.integers(-1, 2), st.integers(0, 2), st.floats(0, 1, width=32)), min_size=1
        ),
        min_size=1,
        max_size=4,
    )
)
def test_calibration_error_is_that_of_a_slow_loop(shapes):
    reliability, rows, counted = Reliability(), [], 0
    for number, faces in enumerate(shapes):
        areas, truth, predicted, confidence = map(list, zip(*faces, strict=True))
        shape = triangles(areas, truth, f"s{number}")
        conf = torch.tensor(confidence, dtype=torch.float32)
        reliability.add(shape, torch.tensor(predicted), conf, torch.zeros(len(faces)))
        exact = shape.face_areas.double().tolist()
        known = sum(a for a, t in zip(exact, truth, strict=True) if t >= 0)
        counted += known > 0
        rows += [
            (a / known, c, float(t == p))
            for a, t, p, c in zip(exact, truth, predicted, conf.double().tolist(), strict=True)
            if t >= 0
        ]
    result = reliability.result()
    if not counted:
        assert result["ece"] is None and result["bins"] == []
        return
    rows = [(w / counted, c, r) for w, c, r in rows]
    assert result["ece"] == pytest.approx(slow_ece(rows), abs=1e-6)
    assert result["accuracy"] == pytest.approx(100 * sum(w * r for w, _, r in rows))
    assert result["confidence"] == pytest.approx(100 * sum(w * c for w, c, _ in rows), abs=1e-5)
    assert sum(row["share"] for row in result["bins"]) == pytest.approx(100)
    assert json.loads(json.dumps(result)) == result


def test_a_coin_that_says_half_is_calibrated():
    labels = [0, 1] * 50
    assert measured([1.0] * 100, labels, [0] * 100, [0.5] * 100).result()["ece"] == pytest.approx(0, abs=1e-6)


def test_probabilities_that_come_true_are_calibrated():
    """Labels sampled with the very probability that is stated: the error falls to the noise of 30 000 samples."""
    random = np.random.default_rng(0)
    confidence = random.random(30_000).astype(np.float32)
    truth = np.where(random.random(30_000) < confidence, 0, 1)
    assert measured(np.ones(30_000), truth, np.zeros(30_000, np.int64), confidence).result()["ece"] < 1.5


def test_a_constant_confidence_errs_by_its_distance_from_the_accuracy():
    result = measured([1.0, 1.0, 2.0], [0, 1, 1], [0, 0, 0], [0.9] * 3).result()
    assert result["accuracy"] == pytest.approx(25)
    assert result["ece"] == pytest.approx(65, abs=1e-4)
    assert result["bins"] == [
        {"confidence": pytest.approx(90), "accuracy": pytest.approx(25), "share": pytest.approx(100)}
    ]


def test_undetermined_faces_and_the_scale_of_the_mesh_do_not_count():
    plain = measured([1.0, 2.0], [0, 1], [0, 0], [0.7, 0.4]).result()
    more = measured([1e6, 2e6, 5e6], [0, 1, -1], [0, 0, 2], [0.7, 0.4, 1.0]).result()
    assert more["ece"] == pytest.approx(plain["ece"], rel=1e-4)
    assert measured([1.0], [-1], [0], [0.5]).result()["ece"] is None


def test_shapes_count_alike_and_records_restore_them():
    reliability = Reliability()
    small, large = triangles([1.0], [0], "small"), triangles([50.0] * 9, [1] * 9, "large")
    one, nine = torch.ones(1), torch.ones(9)
    records = {"small": reliability.add(small, torch.zeros(1, dtype=torch.int64), one, 0.5 * one)}
    records["large"] = reliability.add(large, torch.zeros(9, dtype=torch.int64), nine, 0.25 * nine)
    assert reliability.result()["accuracy"] == pytest.approx(50)
    assert reliability.of_shape("large") == {
        "confidence": pytest.approx(100),
        "accuracy": 0,
        "disagreement": pytest.approx(25),
    }
    again = Reliability()
    for id, record in json.loads(json.dumps(records)).items():
        again.restore(id, record)
    assert again.result() == reliability.result()


def test_rank_correlation_of_the_error_with_what_shapes_are_ranked_by():
    reliability = Reliability()
    for number, wrong in enumerate([0, 1, 2, 4]):
        truth = torch.tensor([1] * wrong + [0] * (4 - wrong))
        disagreement = torch.full((4,), 0.1 * number)
        shape = triangles([1.0] * 4, truth, f"s{number}")
        reliability.add(shape, torch.zeros(4, dtype=torch.int64), torch.full((4,), 0.2 * number), disagreement)
    rank = reliability.result()["rank_correlation"]
    assert rank == {"one_minus_confidence": pytest.approx(-1), "disagreement": pytest.approx(1)}
    assert rank_correlation([1.0, 2.0], [1.0, 2.0]) is None
    assert rank_correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None
    assert rank_correlation([1.0, 3.0, 2.0], [5.0, 7.0, 9.0]) == pytest.approx(0.5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=12))
def test_wrong_points_told_apart_are_counted_pair_by_pair(rows):
    values, first, second = (np.array(x, dtype=np.float64) for x in zip(*rows, strict=True))
    pairs = [(a, b, x * y) for a, x, _ in rows for b, _, y in rows]
    total = sum(weight for *_, weight in pairs)
    expected = sum(weight * (1.0 if a > b else 0.5 if a == b else 0.0) for a, b, weight in pairs)
    result = told_apart(values, first, second)
    assert result is None if total == 0 else result == pytest.approx(expected / total)


def test_points_are_told_apart_by_the_confidence_and_by_the_disagreement():
    figures = measured([1.0, 3.0, 1.0], [0, 0, 1], [0, 0, 0], [0.9, 0.4, 0.5]).result()
    assert figures["points"] == {"one_minus_confidence": pytest.approx(25), "disagreement": pytest.approx(50)}


def test_regions_of_separate_triangles():
    """Ten triangles of equal area, none beside another: the two least sure are the regions; the first one is wrong."""
    confidence = [0.9] * 8 + [0.2, 0.3]
    for wrong, found, first in (([8, 0], 50, 100), ([8], 100, 100), ([0], 0, 0), ([], None, 0)):
        truth = [1 if face in wrong else 0 for face in range(10)]
        figures = measured([1.0] * 10, truth, [0] * 10, confidence).result()["regions"]
        assert figures["found"] == (None if found is None else pytest.approx(found))
        assert (figures["first_wrong"], figures["area"]) == (pytest.approx(first), pytest.approx(20))
    assert (
        "5 least sure regions of each shape: 20 % of its area, 50 % of what is wrong; 100 % of the first one is wrong"
        in described([8, 0])
    )
    assert "none of what is wrong; 0 % of" in described([])


def described(wrong: list[int]) -> str:
    truth = [1 if face in wrong else 0 for face in range(10)]
    result = measured([1.0] * 10, truth, [0] * 10, [0.9] * 8 + [0.2, 0.3]).result()
    return describe_calibration(result | {"vote_share": result})


@pytest.mark.parametrize("value", [math.nan, -0.1, 1.1])
def test_a_confidence_that_is_none_is_refused(value):
    with pytest.raises(InputError, match="shape t: confidences span"):
        measured([1.0, 1.0], [0, 1], [0, 0], [0.5, value])


def test_mean_over_the_area():
    assert area_mean(triangles([1.0, 3.0], [0, 0]), torch.tensor([0.0, 1.0])) == pytest.approx(0.75)
    flat = Shape("flat", torch.zeros(3, 3), torch.tensor([[0, 1, 2]]))
    assert area_mean(flat, torch.tensor([0.3])) == pytest.approx(0.3)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5, 6.0])
def test_a_known_temperature_is_found(temperature):
    """Labels sampled from softmax(z), logits stated as z times the temperature."""
    generator = torch.Generator().manual_seed(3)
    logits = 2 * torch.randn(40_000, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]
    assert fit_temperature(temperature * logits, labels) == pytest.approx(temperature, rel=0.03)


def test_no_temperature_in_range_is_better():
    generator = torch.Generator().manual_seed(4)
    logits, labels = torch.randn(500, 4, generator=generator), torch.randint(4, (500,), generator=generator)
    best = fit_temperature(logits, labels)
    losses = {
        t: float(torch.nn.functional.cross_entropy(logits / t, labels)) for t in [*np.geomspace(0.05, 20, 300), best]
    }
    assert losses[best] <= min(losses.values()) + 1e-5


def test_lines_of_an_evaluation():
    figures = measured([1.0], [0], [0], [0.5]).result()
    lines = describe_calibration(figures | {"vote_share": measured([1.0], [0], [0], [0.9]).result()}).splitlines()
    assert lines[0] == "confidence: mean 50.0, accuracy 100.0, calibration error 50.0"
    assert lines[1] == "share of the votes: mean 90.0, accuracy 100.0, calibration error 10.0"
    more = figures | {"vote_share": figures, "unfamiliar": {"shapes": 2, "accuracy": 40.0, "others": None}}
    assert describe_calibration(more).splitlines()[3] == "2 shapes unlike the labelled ones: accuracy 40.0, no others"
    nothing = Reliability().result()
    assert describe_calibration(nothing | {"vote_share": nothing}) == ""
