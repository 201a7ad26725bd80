"""Tables of methods × columns over runs, with the paper's rows beside ours: made, and written as Markdown, LaTeX and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from mvdecor.errors import InputError
from mvdecor.results.cells import check_cells
from mvdecor.results.measures import MEASURES
from mvdecor.results.runs import Run
from mvdecor.results.table import format_table, mean_and_deviation, spread

MISSING = "–"
LATEX = {
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{c: "\\" + c for c in "&%$#_{}"},
    **{"–": "--", "±": r"$\pm$", "λ": r"$\lambda$", "×": r"$\times$", "<": "$<$"},
}


@dataclass(frozen=True)
class Column:
    """A column: one task, or the mean over others.

    Attributes:
        name: its heading.
        mean_of: names of the columns that it averages run by run; empty for a task of its own.
        paper: the paper's column to show beside it; None = the one of the same name, if there is one.
        task: the column that results were run for, if it is not the heading.
        measure: what of its results it shows, one of `MEASURES`.
    """

    name: str
    mean_of: tuple[str, ...] = ()
    paper: str | None = None
    task: str | None = None
    measure: str = "part_miou"

    def holds(self, result: Run) -> bool:
        """Whether a result was run for it."""
        return result.column == (self.task or self.name)


def columns_of(columns: Sequence[Column], measures: Sequence[str]) -> list[Column]:
    """Each of some columns once for each measure, next to each other."""
    if list(measures) == ["part_miou"]:
        return list(columns)

    def heading(name: str, measure: str) -> str:
        return MEASURES[measure].title if len(columns) == 1 else f"{name}: {MEASURES[measure].title}"

    return [
        Column(
            heading(column.name, measure),
            tuple(heading(name, measure) for name in column.mean_of),
            column.paper,
            column.name,
            measure,
        )
        for column in columns
        for measure in measures
    ]


@dataclass(frozen=True)
class Cell:
    """A measure of a method in a column (part mIoU: percent), over `runs` of `expected` runs.

    `std` is the sample deviation (divided by runs - 1); None for fewer than two runs, or where the paper gives none.
    """

    mean: float | None
    std: float | None
    runs: int | None
    expected: int | None

    def text(self) -> str:
        """ "54.2 ± 1.6", marked with "(2/3 runs)" where runs are missing; a dash where all are."""
        if self.mean is None:
            return MISSING
        return spread(self.mean, self.std) + (
            f" ({self.runs}/{self.expected} runs)" if self.runs != self.expected else ""
        )


@dataclass(frozen=True)
class Row:
    """A method's cells by column name; `source` is "ours" or "paper"."""

    method: str
    source: str
    cells: dict[str, Cell]

    def runs(self) -> str:
        """How many runs its cells have: one number, or the least and the most."""
        counts = [cell.runs for cell in self.cells.values() if cell.runs is not None]
        if not counts:
            return MISSING
        return str(max(counts)) if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


@dataclass(frozen=True)
class Grid:
    """A whole table.

    Attributes:
        columns: headings, in order.
        measures: what each column shows.
        rows: ours and the paper's.
        paper: where the paper's figures are from; None without any.
        parts: by column, how many of how many parts occur in the test shapes (of results that noted it).
    """

    columns: tuple[str, ...]
    measures: tuple[str, ...]
    rows: tuple[Row, ...]
    paper: str | None = None
    parts: dict[str, tuple[int, int]] = field(default_factory=dict)


def make_grid(
    results: Sequence[Run],
    columns: Sequence[Column],
    methods: Mapping[str, str],
    runs: int | None = None,
    paper: Mapping | None = None,
) -> Grid:
    """Results as a table, with a row for each method, also for those without a result.

    Args:
        results: finished runs; those of other methods or columns are not counted.
        columns: the table's columns in order.
        methods: titles by short name, in order.
        runs: how many a cell should have; None = as many as the fullest has.
        paper: a file of configs/paper: {"source", "columns", "runs", "rows": {title: [percent or None]}}. A row comes
            right below ours of the same title, the others at the end.

    Raises:
        InputError: see `check_cells`; or a column that the paper does not have.
    """
    results = [r for r in results if r.method in methods and any(column.holds(r) for column in columns)]
    check_cells(results)
    measured: dict[tuple[str, str], dict[tuple[int, int], float]] = {}
    for column in columns:
        for r in results if not column.mean_of else ():
            if column.holds(r) and (value := MEASURES[column.measure].of(r.metrics)) is not None:
                measured.setdefault((r.method, column.name), {})[r.seed, r.number] = float(value)
    for column in columns:
        for method in methods if column.mean_of else ():
            parts = [measured.get((method, name), {}) for name in column.mean_of]
            shared = [run for run in parts[0] if all(run in part for part in parts)]
            measured[method, column.name] = {run: sum(p[run] for p in parts) / len(parts) for run in shared}
    expected = runs or max(map(len, measured.values()), default=0)
    our_rows = {title: Row(title, "ours", _cells(measured, name, columns, expected)) for name, title in methods.items()}
    paper_rows = _paper_rows(paper, columns) if paper else {}
    ordered: list[Row] = []
    for title, row in our_rows.items():
        ordered += [row, paper_rows[title]] if title in paper_rows else [row]
    ordered += [row for title, row in paper_rows.items() if title not in our_rows]
    source = paper["source"] if paper and paper_rows else None
    headings, measures = tuple(c.name for c in columns), tuple(c.measure for c in columns)
    return Grid(headings, measures, tuple(ordered), source, _occurring_parts(results, columns))


def markdown(grid: Grid) -> str:
    """The table in Markdown, which also reads well as plain text, with a line on what its signs mean."""
    lines = [format_table([dict(zip(_header(grid), _texts(grid, row), strict=True)) for row in grid.rows]), ""]
    lines.append(
        f"{_notes(grid)}, mean ± sample deviation over runs; {MISSING} = no result, (2/3 runs) = runs are missing."
    )
    lines += [f"{occurrence_note(grid)}."] if grid.parts else []
    lines += [f"Rows marked paper: {grid.paper}."] if grid.paper else []
    return "\n".join(lines) + "\n"


def occurrence_note(grid: Grid) -> str:
    """How many parts of each column occur in the test shapes, e.g. "Parts that occur in the test shapes: Bag 3 of 4"."""
    counts = ", ".join(f"{name} {count} of {parts}" for name, (count, parts) in grid.parts.items())
    note = "; under protocol mvdecor the others count 0" if any(n < m for n, m in grid.parts.values()) else ""
    return f"Parts that occur in the test shapes: {counts}{note}"


def latex(grid: Grid) -> str:
    """The table as a LaTeX tabular (package booktabs)."""
    lines = [rf"% \usepackage{{booktabs}}; {_notes(grid)}, mean and sample deviation over runs"]
    lines += [f"% {occurrence_note(grid)}"] if grid.parts else []
    lines += [f"% rows marked paper: {grid.paper}"] if grid.paper else []
    lines += [rf"\begin{{tabular}}{{llr{'r' * len(grid.columns)}}}", r"\toprule"]
    texts = [_header(grid), *(_texts(grid, row) for row in grid.rows)]
    body = [" & ".join(_latex_text(text) for text in line) + r" \\" for line in texts]
    return "\n".join([*lines, body[0], r"\midrule", *body[1:], r"\bottomrule", r"\end{tabular}"]) + "\n"


def _notes(grid: Grid) -> str:
    """What the columns show, in words."""
    notes = [MEASURES[measure].note for measure in dict.fromkeys(grid.measures)]
    return "; ".join([notes[0][0].upper() + notes[0][1:], *notes[1:]])


def _latex_text(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)


def csv_text(grid: Grid) -> str:
    """One line per cell, in full precision: method, source, column, measure, mean, deviation, runs, expected runs, and for ours
    how many of how many parts occur in the test shapes; empty = not there."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    header = ["method", "source", "column", "measure", "mean", "std", "runs", "runs_expected"]
    writer.writerow([*header, "parts_occurring", "parts"])
    for row in grid.rows:
        for (name, cell), measure in zip(row.cells.items(), grid.measures, strict=True):
            parts = grid.parts.get(name, (None, None)) if row.source == "ours" else (None, None)
            writer.writerow(
                [row.method, row.source, name, measure, cell.mean, cell.std, cell.runs, cell.expected, *parts]
            )
    return file.getvalue()


def as_dict(grid: Grid) -> dict:
    """The table as plain values, for JSON."""
    return asdict(grid)


def _header(grid: Grid) -> list[str]:
    return ["method", "source", "runs", *grid.columns]


def _texts(grid: Grid, row: Row) -> list[str]:
    return [row.method, row.source, row.runs(), *(row.cells[name].text() for name in grid.columns)]


def _cells(measured: Mapping, method: str, columns: Sequence[Column], expected: int) -> dict[str, Cell]:
    cells = {}
    for column in columns:
        values = measured.get((method, column.name), {}).values()
        if values or column.measure == "part_miou":
            cells[column.name] = Cell(*mean_and_deviation(values), len(values), expected)
        else:  # not every method has every measure
            cells[column.name] = Cell(None, None, None, None)
    return cells


def _occurring_parts(results: Sequence[Run], columns: Sequence[Column]) -> dict[str, tuple[int, int]]:
    """By column of results that noted it, how many of how many parts occur in the test shapes."""
    parts: dict[str, tuple[int, int]] = {}
    for column in columns:
        with_parts = [r for r in results if column.holds(r) and r.occurring is not None]
        if column.measure != "part_miou":
            continue
        if with_parts:  # of several seeds one may sample a point of a part so small that another samples none
            occurring = {name for r in with_parts for name in r.occurring or ()}
            parts[column.name] = len(occurring), len(with_parts[0].parts)
    return parts


def _paper_rows(paper: Mapping, columns: Sequence[Column]) -> dict[str, Row]:
    """The paper's rows by title; those without a figure in any of the table's columns are left out."""
    rows = {}
    if unknown := [c.paper for c in columns if c.paper and c.paper not in paper["columns"]]:
        raise InputError(f"the paper's table has no column {unknown[0]!r}: choose one of {', '.join(paper['columns'])}")
    for title, values in paper["rows"].items():
        figures = dict(zip(paper["columns"], values, strict=True))
        cell_values = {
            c.name: figures.get(c.paper or c.task or c.name) if c.measure == "part_miou" else None for c in columns
        }
        runs = paper.get("runs")
        cells = {
            name: Cell(v, None, runs if v is not None else None, runs if v is not None else None)
            for name, v in cell_values.items()
        }
        if any(value is not None for value in cell_values.values()):
            rows[title] = Row(title, "paper", cells)
    return rows
