"""Means and deviations over runs, and the printed table."""

import pytest

from mvdecor.errors import InputError
from mvdecor.evaluation import format_table, summarize


def rows_of(**runs: list[float]) -> list[dict]:
    return [
        {"method": method, "category": "Bottle", "part_miou": value, "run": i}
        for method, values in runs.items()
        for i, value in enumerate(values)
    ]


def test_mean_and_sample_deviation():
    table = summarize(rows_of(scratch=[10.0, 20.0, 30.0], pretrained=[40.0]))
    assert table["rows"] == [
        {"method": "scratch", "category": "Bottle", "part_miou_mean": 20.0, "part_miou_std": 10.0, "runs": 3},
        {"method": "pretrained", "category": "Bottle", "part_miou_mean": 40.0, "part_miou_std": 0.0, "runs": 1},
    ]


def test_order_of_runs_does_not_matter_and_categories_stay_apart():
    rows = [*rows_of(scratch=[10.0, 25.0]), {"method": "scratch", "category": "Knife", "part_miou": 5.0, "run": 0}]
    table, mixed = summarize(rows), summarize([rows[1], rows[2], rows[0]])
    assert table == mixed
    assert [(r["category"], r["runs"]) for r in table["rows"]] == [("Bottle", 2), ("Knife", 1)]


def test_doubled_runs_and_missing_numbers_are_refused():
    with pytest.raises(InputError, match=r"run 0 of scratch on Bottle.*twice"):
        summarize(rows_of(scratch=[1.0]) * 2)
    for value in (None, float("nan")):
        with pytest.raises(InputError, match=r"run 0 of scratch on Bottle.*nothing was measured"):
            summarize(rows_of(scratch=[value]))


def test_table_is_aligned_markdown():
    text = format_table(summarize(rows_of(scratch=[10.0, 20.0, 30.0], pretrained=[40.06]))["rows"])
    assert text.splitlines() == [
        "| method     | category |   part miou | runs |",
        "|------------|----------|------------:|-----:|",
        "| scratch    | Bottle   | 20.0 ± 10.0 |    3 |",
        "| pretrained | Bottle   |  40.1 ± 0.0 |    1 |",
    ]


def test_table_of_other_rows():
    text = format_table(
        [{"category": "Vase", "layers": 1, "part_miou": 79.64}, {"category": "Bed", "layers": 2, "part_miou": None}]
    )
    assert text.splitlines()[2:] == ["| Vase     |      1 |      79.6 |", "| Bed      |      2 |         – |"]
    assert format_table([]) == ""
