"""Numbers in the plots are those of the results."""

import json
from dataclasses import replace

import pytest

from mvdecor.apps.report.charts import calibration_figure, confusion_figure, curves_figure, parts_figure
from mvdecor.results.pipeline import part_iou


def test_bars_are_the_means_of_the_runs(results):
    figure = parts_figure(results)
    for bar in figure.data[:2]:
        runs = [run.metrics["parts"] for run in results.of(bar.name)]
        assert list(bar.x) == ["foot", "body", "head"]
        for name, mean, deviation in zip(bar.x, bar.y, bar.error_y.array, strict=True):
            a, b = (parts[name] for parts in runs)
            assert mean == pytest.approx((a + b) / 2)
            assert deviation == pytest.approx(abs(a - b) / 2**0.5)
    assert figure.data[2].name == "ceiling" and set(figure.data[2].y) == {97.0}


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
