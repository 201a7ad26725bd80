"""Numbers in the plots are those of the results."""

import json
from dataclasses import replace

import numpy as np
import pytest

from mvdecor.apps.report.charts import (
    calibration_figure,
    confusion_figure,
    curves_figure,
    largest_confusions,
    parts_figure,
    short_names,
)
from mvdecor.results.pipeline import part_iou


def test_bars_are_the_means_of_the_runs(results):
    figure = parts_figure(results)
    for bar in figure.data[:2]:
        runs = [run.metrics["parts"] for run in results.of(bar.name)]
        assert list(bar.y) == ["foot", "body", "head"] and bar.orientation == "h"
        for name, mean, deviation in zip(bar.y, bar.x, bar.error_x.array, strict=True):
            a, b = (parts[name] for parts in runs)
            assert mean == pytest.approx((a + b) / 2)
            assert deviation == pytest.approx(abs(a - b) / 2**0.5)
    assert figure.data[2].name == "ceiling" and set(figure.data[2].x) == {97.0}


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["chair/back/top", "chair/back/bar", "chair/seat"], ["back/top", "back/bar", "seat"]),
        (["lamp/base/body", "lamp/base/foot"], ["body", "foot"]),
        (["chair/seat"], ["seat"]),
        (["arm", "leg"], ["arm", "leg"]),
        (["background", "chair/arm", "chair/leg"], ["background", "arm", "leg"]),
        (["arm", "chair/arm", "chair/leg"], ["arm", "chair/arm", "chair/leg"]),  # or two would be called the same
        (["chair/leg", "table/leg"], ["chair/leg", "table/leg"]),
        ([], []),
    ],
)
def test_the_path_that_all_parts_begin_with_is_left_out(names, short):
    assert short_names(names) == short


@pytest.mark.parametrize("count", [4, 50])
def test_charts_of_few_and_many_parts_have_room_for_every_name(results, count):
    names = [f"table/tabletop/part_{k}" for k in range(count)]
    metrics = json.loads(json.dumps(results.runs[0].metrics))
    metrics["parts"] = dict.fromkeys(names, 50.0)
    metrics["ceiling"]["parts"] = dict.fromkeys(names, 97.0)
    metrics["occurring"] = names[:-1]
    random = np.random.default_rng(0)
    matrix = np.diag(random.integers(1, 100, count)) + random.integers(0, 9, (count, count))
    matrix[-1] = matrix[:, -1] = 0
    runs = (replace(results.runs[0], metrics={**metrics, "confusion": matrix.tolist()}),)
    bars = parts_figure(replace(results, runs=runs))
    assert list(bars.data[0].y) == [f"part_{k}" for k in range(count - 1)]
    assert bars.layout.height / (count - 1) > 20 and bars.layout.yaxis.dtick == 1
    confusion = confusion_figure(runs)
    assert list(confusion.data[0].x) == list(bars.data[0].y)
    margin = confusion.layout.margin
    cells = (confusion.layout.width - margin.l - margin.r) / (count - 1)
    assert 14 <= cells <= 56 and confusion.layout.width < 1100
    assert cells == (confusion.layout.height - margin.t - margin.b) / (count - 1), "square"
    assert confusion.layout.xaxis.dtick == confusion.layout.yaxis.dtick == 1
    numbers = [text for row in confusion.data[0].text for text in row]
    assert ("" in numbers) == (count > 16), "small shares have no number among many parts"


def test_the_largest_confusions_are_named():
    matrices = [[[5, 3, 0], [0, 6, 1], [0, 0, 9]], [[0, 2, 0], [0, 0, 0], [4, 0, 6]]]
    rows = largest_confusions(matrices, ["a/x", "a/y", "a/z"], count=2)
    assert rows == [
        {"truth": "x", "prediction": "y", "of the true part": 50.0, "of all that is wrong": 50.0},
        {"truth": "z", "prediction": "x", "of the true part": pytest.approx(400 / 19), "of all that is wrong": 40.0},
    ]
    assert largest_confusions([[[1, 0], [0, 1]]], ["a", "b"]) == []


def test_a_part_that_no_run_counted_has_no_bar(results):
    absent, counted = (json.loads(json.dumps(run.metrics)) for run in results.of("scratch"))
    absent["parts"]["foot"] = None
    runs = [replace(results.runs[0], metrics=metrics) for metrics in (absent, counted)]
    assert part_iou(runs, "foot") == (counted["parts"]["foot"], None)
    assert part_iou(runs[:1], "foot") == (None, None)


def test_confusion_is_the_share_of_each_true_part(results):
    runs = results.of("scratch")
    figure = confusion_figure(runs)
    names = list(runs[0].metrics["parts"])
    for row in range(len(names)):
        total = sum(sum(run.metrics["confusion"][row]) for run in runs)
        for column in range(len(names)):
            points = sum(run.metrics["confusion"][row][column] for run in runs)
            assert figure.data[0].z[row][column] == pytest.approx(100 * points / total)
    assert list(figure.data[0].y) == names and figure.layout.yaxis.autorange == "reversed"


def test_confusion_of_an_absent_part_is_blank_and_of_old_results_none(results):
    run = results.runs[0]
    matrix = [[0.0, 0.0, 0.0], [1.0, 3.0, 0.0], [0.0, 0.0, 2.0]]
    figure = confusion_figure([replace(run, metrics={**run.metrics, "confusion": matrix})])
    assert [list(row) for row in figure.data[0].z] == [[None, None, None], [25, 75, 0], [0, 0, 100]]
    old = {key: value for key, value in run.metrics.items() if key != "confusion"}
    assert confusion_figure([replace(run, metrics=old)]) is None


def test_cells_of_the_confusion_claim_neither_all_nor_nothing(results):
    matrix = [[9996.0, 4.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    (heat,) = confusion_figure(
        [replace(results.runs[0], metrics={**results.runs[0].metrics, "confusion": matrix})]
    ).data
    assert list(heat.text[0]) == ["99", "&lt;1", "0"] and list(heat.customdata[0]) == ["99.9", "&lt;0.1", "0.0"]


def test_curves(results):
    figure = curves_figure(results)
    titles = [annotation.text for annotation in figure.layout.annotations]
    assert titles == ["pretraining: loss", "pretraining: retrieval accuracy", "fine-tuning: segmentation loss"]
    assert len(figure.data) == 2 * 2 + len(results.runs)
    assert list(figure.data[1].x) == [3, 6], "validation"
    tuned = [trace for trace in figure.data if trace.xaxis == "x3"]
    assert [trace.name for trace in tuned] == [run.method for run in results.runs]
    assert [trace.showlegend for trace in tuned] == [True, True, False, False]
    alone = replace(results, runs=(replace(results.runs[0], finetuned=None),), pretrained=None)
    assert curves_figure(alone) is None


def test_calibration_curves(results):
    figure = calibration_figure(results)
    diagonal, *curves = figure.data
    assert list(diagonal.x) == list(diagonal.y) == [0, 100]
    for curve, run in zip(curves, results.runs, strict=True):
        bins = run.metrics["calibration"]["bins"]
        assert curve.name == run.method
        assert list(zip(curve.x, curve.y, strict=True)) == [(row["confidence"], row["accuracy"]) for row in bins]
