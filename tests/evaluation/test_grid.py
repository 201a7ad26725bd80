"""Tables of methods × columns: numbers against NumPy, gaps that can be seen, the three formats."""

import csv
import io
import json
import re

import numpy as np
import pytest

from mvdecor.errors import InputError
from mvdecor.results.grid import Column, as_dict, csv_text, latex, make_grid, markdown
from mvdecor.results.runs import read_runs

COLUMNS = [Column("Mean", ("Bottle", "Bed_1")), Column("Bottle"), Column("Bed_1", paper="Bed")]
METHODS = {"scratch": "2D scratch", "mvdecor": "MvDeCor"}
PAPER = {
    "source": "a paper, table 1",
    "columns": ["Mean", "Bottle", "Bed"],
    "runs": 5,
    "rows": {"MvDeCor": [35.9, 39.2, None], "3D thing": [None, 1.5, 2.5], "not here": [None, None, None]},
}
BOTTLE, BED = [10.0, 25.5, 31.0], [40.0, 44.0]


@pytest.fixture
def grid(write_run, tmp_path):
    """scratch has 3 runs on Bottle, 2 on Bed_1; MvDeCor one on Bottle."""
    for run, value in enumerate(BOTTLE):
        write_run("scratch", run, value)
    for run, value in enumerate(BED):
        write_run("scratch", run, value, "Bed_1")
    write_run("mvdecor", 2, 50.0)
    write_run("dino", 0, 99.0)
    return make_grid(read_runs([tmp_path / "results"]), COLUMNS, METHODS, 3, PAPER)


def test_means_and_deviations(grid):
    cells = grid.rows[0].cells
    both = [(a + b) / 2 for a, b in zip(BOTTLE[:2], BED, strict=True)]
    for name, values in (("Bottle", BOTTLE), ("Bed_1", BED), ("Mean", both)):
        assert cells[name].mean == pytest.approx(np.mean(values))
        assert cells[name].std == pytest.approx(np.std(values, ddof=1))
        assert (cells[name].runs, cells[name].expected) == (len(values), 3)


def test_gaps_are_seen_and_the_paper_is_beside(grid):
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown(grid).splitlines()[:6]]
    assert lines[0] == ["method", "source", "runs", "Mean", "Bottle", "Bed 1"]
    assert lines[2:] == [
        ["2D scratch", "ours", "2–3", "29.9 ± 6.9 (2/3 runs)", "22.2 ± 10.9", "42.0 ± 2.8 (2/3 runs)"],
        ["MvDeCor", "ours", "0–1", "–", "50.0 (1/3 runs)", "–"],
        ["MvDeCor", "paper", "5", "35.9", "39.2", "–"],
        ["3D thing", "paper", "5", "–", "1.5", "2.5"],
    ]
    assert "a paper, table 1" in markdown(grid)


def test_without_results_the_table_is_all_gaps():
    grid = make_grid([], COLUMNS, METHODS, 3)
    assert [[cell.text() for cell in row.cells.values()] for row in grid.rows] == [["–"] * 3] * 2
    assert grid.paper is None and "paper" not in markdown(grid)


def test_expected_runs_default_to_the_fullest_cell(write_run, tmp_path):
    for run in range(2):
        write_run("scratch", run, 10.0)
    write_run("mvdecor", 0, 10.0)
    grid = make_grid(read_runs([tmp_path / "results"]), [Column("Bottle")], METHODS)
    assert [row.cells["Bottle"].text() for row in grid.rows] == ["10.0 ± 0.0", "10.0 (1/2 runs)"]


def test_csv_parses_back(grid):
    rows = list(csv.DictReader(io.StringIO(csv_text(grid))))
    assert len(rows) == 4 * 3
    for row, cell in zip(rows, (c for r in grid.rows for c in r.cells.values()), strict=True):
        values = [row[k] for k in ("mean", "std", "runs", "runs_expected")]
        assert [float(v) if v else None for v in values] == [cell.mean, cell.std, cell.runs, cell.expected]
    assert [row["column"] for row in rows[:3]] == ["Mean", "Bottle", "Bed_1"]


def test_latex_structure(grid):
    text = latex(grid)
    for begin in re.findall(r"\\begin\{(\w+)\}", text):
        assert text.count(rf"\begin{{{begin}}}") == text.count(rf"\end{{{begin}}}") == 1
    assert text.count("{") == text.count("}")
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns and all(line.count("&") + 1 == len(columns[1]) for line in body)
    assert len(body) == 1 + 4
    assert r"Bed\_1" in body[0] and r"22.2 $\pm$ 10.9" in body[1] and " -- " in body[2]
    assert all(ord(c) < 128 for line in body for c in line)
    assert not re.search(r"(?<!\\)_", "".join(body))


def test_every_format_says_how_many_parts_occur(write_run, tmp_path):
    """One run of two may have sampled a point of a tiny part; a column of an older revision did not note it."""
    parts = {"foot": 1.0, "shade": 2.0, "bulb": 0.0, "cord": 0.0}
    for run, occurring in enumerate((["foot", "shade"], ["foot", "bulb"])):
        file = write_run("scratch", run, 10.0)
        file.write_text(json.dumps(json.loads(file.read_text()) | {"parts": parts, "occurring": occurring}))
    write_run("scratch", 0, 10.0, "Bed_1")
    grid = make_grid(read_runs([tmp_path / "results"]), COLUMNS, METHODS, 2, PAPER)
    assert grid.parts == {"Bottle": (3, 4)} == {k: tuple(v) for k, v in as_dict(grid)["parts"].items()}
    note = "Parts that occur in the test shapes: Bottle 3 of 4; under protocol mvdecor the others count 0"
    assert f"\n{note}.\n" in markdown(grid)
    assert f"\n% {note}\n" in latex(grid)
    rows = list(csv.DictReader(io.StringIO(csv_text(grid))))
    said = {(row["source"], row["column"]): (row["parts_occurring"], row["parts"]) for row in rows}
    assert said[("ours", "Bottle")] == ("3", "4")
    assert {value for key, value in said.items() if key != ("ours", "Bottle")} == {("", "")}


def test_unknown_column_of_the_paper():
    with pytest.raises(InputError, match=r"has no column 'Bet': choose one of Mean, Bottle, Bed"):
        make_grid([], [Column("Bed_1", paper="Bet")], METHODS, 3, PAPER)
