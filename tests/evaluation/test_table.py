"""Means and deviations over runs, and the printed table."""

import pytest
import torch

from mvdecor.errors import InputError
from mvdecor.evaluation import PartMetrics, undetermined_shares
from mvdecor.results import evaluation_summary, format_table, occurrence, summarize
from mvdecor.shapes.shape import Shape


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
        {"method": "pretrained", "category": "Bottle", "part_miou_mean": 40.0, "part_miou_std": None, "runs": 1},
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
        "| pretrained | Bottle   |        40.1 |    1 |",
    ]


def test_table_of_other_rows():
    text = format_table(
        [{"category": "Vase", "layers": 1, "part_miou": 79.64}, {"category": "Bed", "layers": 2, "part_miou": None}]
    )
    assert text.splitlines()[2:] == ["| Vase     |      1 |      79.6 |", "| Bed      |      2 |         – |"]
    assert format_table([]) == ""


def evaluated(protocol: str) -> dict:
    """Metrics of a shape of which a quarter is undetermined, half is right, and that shows two of four parts."""
    square = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 1, 2], [0, 2, 3]])
    shape = Shape("square", square, faces, torch.tensor([0, 0, 1, -1]), ("a", "b", "c", "d"))
    metrics = PartMetrics(shape.label_names, protocol, points=0)
    metrics.add(shape, torch.tensor([0, 1, 1, 2]))
    result = metrics.result()
    result["undetermined"] = undetermined_shares(shape)
    return result | {"ceiling": {"part_miou": 99.97}, "coverage": 99.8, "split": {"ids": ["square"]}}


@pytest.mark.parametrize(
    ("protocol", "part_miou", "others"), [("mvdecor", 25.0, "count 0"), ("partnet", 50.0, "are left out")]
)
def test_a_summary_says_which_parts_occur_and_what_is_not_counted(protocol, part_miou, others):
    result = evaluated(protocol)
    assert result["occurring"] == ["a", "b"] and result["absent"] == ["c", "d"]
    assert (result["part_miou"], result["part_miou_occurring"]) == (part_miou, 50.0)  # each of two parts has IoU 1/2
    assert result["undetermined"] == {"faces": 25.0, "area": 25.0}
    text = evaluation_summary(result)
    assert text.startswith(
        f"part mIoU {part_miou} (50.0 over the parts that occur, of which the ceiling 99.9), shape mIoU 50.0"
    )
    assert "99 % of the area seen, 1 shapes" in text
    assert f"2 of 4 parts occur in the test shapes, the others {others}" in text and f"(protocol {protocol})" in text
    assert text.endswith("25.0 % of the area, 25.0 % of the faces, 0 of 1 shapes whole")


def test_where_all_parts_occur_there_is_nothing_to_explain():
    result = evaluated("mvdecor") | {"parts": {"a": 50.0, "b": 50.0}}
    assert occurrence(result) == "2 of 2 parts occur in the test shapes"
    assert evaluation_summary(result).startswith("part mIoU 25.0 (ceiling 99.9), shape mIoU 50.0")


def test_cells_claim_neither_all_nor_nothing_unless_it_is_so():
    rows = [
        {"area": 99.96, "deviates_mean": 50.0, "deviates_std": 0.01},
        {"area": 100.0, "deviates_mean": 0.01, "deviates_std": 0.0},
    ]
    assert format_table(rows).splitlines()[2:] == [
        "|  99.9 | 50.0 ± <0.1 |",
        "| 100.0 |  <0.1 ± 0.0 |",
    ]
