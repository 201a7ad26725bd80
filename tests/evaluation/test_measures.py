"""Tables of results about views: their measures, the mean code's row, and what must not share a column."""

import json

import pytest

from mvdecor.errors import InputError
from mvdecor.results.cells import check_cells
from mvdecor.results.grid import Column, columns_of, csv_text, make_grid, markdown
from mvdecor.results.runs import read_runs


def write_views(write_run, method: str, part_miou: float | None, label_miou: float, mean_code=None, seed=0, **more):
    """A result of Semantic SRN in the place of write_run's, with 10 seconds for its two shapes."""
    config = {"system": "semantic_srn", "seed": seed, "capture__seed": seed, "capture__size": 64, **more}
    file = write_run(method, 0, 1.0, where=f"{method}{seed}", **config)
    images = {"psnr": 17.5, "labels": {"miou": label_miou, "miou_with_background": 60.0}}
    content = json.loads(file.read_text())
    content |= {"part_miou": part_miou, "shape_miou": part_miou, "images": images, "cost": {"cpu_seconds": 10.0}}
    if mean_code is not None:
        images = {"psnr": 14.0, "labels": None}
        content["mean_code"] = {"part_miou": mean_code, "shape_miou": mean_code, "images": images}
    file.write_text(json.dumps(content))
    return file


def test_every_measure_has_a_column_and_the_mean_code_a_row(write_run, tmp_path):
    for seed, value in ((0, 70.0), (1, 80.0)):
        write_views(write_run, "semantic_srn", value, value - 30, mean_code=50.0, seed=seed)
    write_run("mvdecor", 0, 90.0)
    runs = read_runs([tmp_path / "results"])
    measures = ["part_miou", "label_miou", "psnr", "seconds_per_shape"]
    grid = make_grid(runs, columns_of([Column("Bottle")], measures), {run.method: run.title for run in runs}, 2)
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown(grid).splitlines()[:5]]
    assert lines[0] == ["method", "source", "runs", "part mIoU", "label mIoU", "PSNR", "seconds per shape"]
    assert lines[2:] == [
        ["2D mvdecor", "ours", "1", "90.0 (1/2 runs)", "–", "–", "–"],
        ["2D semantic_srn, mean code", "ours", "2", "50.0 ± 0.0", "–", "14.0 ± 0.0", "–"],
        ["2D semantic_srn", "ours", "2", "75.0 ± 7.1", "45.0 ± 7.1", "17.5 ± 0.0", "5.0 ± 0.0"],
    ]
    assert "2D semantic_srn,ours,label mIoU,label_miou,45.0," in csv_text(grid)


def test_measures_of_several_columns_and_their_mean(write_run, tmp_path):
    for column, value in (("Bottle", 10.0), ("Bed", 30.0)):
        write_run("scratch", 0, value, column)
    columns = columns_of(
        [Column("Mean", ("Bottle", "Bed")), Column("Bottle"), Column("Bed")], ["part_miou", "shape_miou"]
    )
    (row,) = make_grid(read_runs([tmp_path / "results"]), columns, {"scratch": "2D scratch"}).rows
    assert {name: cell.mean for name, cell in row.cells.items()} == {
        "Mean: part mIoU": 20.0,
        "Mean: shape mIoU": 10.0,
        "Bottle: part mIoU": 10.0,
        "Bottle: shape mIoU": 5.0,
        "Bed: part mIoU": 30.0,
        "Bed: shape mIoU": 15.0,
    }


def test_views_without_meshes_have_no_part_miou(write_run, tmp_path):
    write_views(write_run, "semantic_srn", None, 40.0)
    (run,) = read_runs([tmp_path / "results"])
    assert run.part_miou is None and run.shape_miou is None
    (row,) = make_grid([run], columns_of([Column("Bottle")], ["part_miou", "label_miou"]), {run.method: run.title}).rows
    assert [cell.mean for cell in row.cells.values()] == [None, 40.0]


@pytest.mark.parametrize("setting", ["capture.size", "evaluation.measured", "capture.count"])
def test_views_of_a_column_are_measured_alike(write_run, tmp_path, setting):
    write_views(write_run, "semantic_srn", 70.0, 40.0)
    write_run("mvdecor", 0, 90.0)  # sees no captures
    check_cells(read_runs([tmp_path / "results"]))
    write_views(write_run, "unet_views", 50.0, 40.0, **{setting.replace(".", "__"): 7})
    with pytest.raises(InputError, match=f"differ in {setting}"):
        check_cells(read_runs([tmp_path / "results"]))
