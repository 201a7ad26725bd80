"""Tables of results: means and deviations over runs, and their print."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from mvdecor.errors import InputError
from mvdecor.percent import rounded


def summarize(rows: Sequence[Mapping]) -> dict:
    """Mean and sample deviation over the runs of each method and category.

    Args:
        rows: {"method", "category", "part_miou" (percent), "run"} each; a run of a method and category occurs once.

    Returns:
        {"rows": [{"method", "category", "part_miou_mean", "part_miou_std", "runs"}]}, percent, in order of first
        appearance. The deviation is that of a sample (divided by runs - 1), None for a single run.

    Raises:
        InputError: if a run occurs twice or has no number.
    """
    groups: dict[tuple[str, str], dict] = {}
    for row in rows:
        run_name = f"run {row['run']} of {row['method']} on {row['category']}"
        value, runs = row["part_miou"], groups.setdefault((row["method"], row["category"]), {})
        if row["run"] in runs:
            raise InputError(f"{run_name} is in the results twice; count each run once")
        if value is None or not math.isfinite(value):
            raise InputError(
                f"{run_name} has part mIoU {value}: nothing was measured; check that its test shapes have labels"
            )
        runs[row["run"]] = float(value)
    return {
        "rows": [
            {
                "method": method,
                "category": category,
                **dict(zip(("part_miou_mean", "part_miou_std"), mean_and_deviation(runs.values()), strict=True)),
                "runs": len(runs),
            }
            for (method, category), runs in groups.items()
        ]
    }


def mean_and_deviation(values: Iterable[float | None]) -> tuple[float | None, float | None]:
    """Mean and sample deviation (divided by n - 1) of the values that are not None; None for those of too few."""
    numbers = [value for value in values if value is not None]
    mean = statistics.fmean(numbers) if numbers else None
    return mean, statistics.stdev(numbers) if len(numbers) > 1 else None


def format_table(rows: Sequence[Mapping]) -> str:
    """Rows as an aligned Markdown table, which also reads well as plain text.

    Args:
        rows: flat dicts with the keys of the first, which become the columns: those of `summarize(...)["rows"]` or
            `ceiling_table(...)`. `x_mean` and `x_std` share a column `x`; floats are percentages and get one decimal
            (see `rounded`), None a dash. There is no deviation where `x_std` is None.

    Returns:
        the table, without a line feed at its end; an empty string for no rows.
    """
    if not rows:
        return ""
    columns = [k for k in rows[0] if not (k.endswith("_std") and k.removesuffix("_std") + "_mean" in rows[0])]
    header = [k.removesuffix("_mean").replace("_", " ") for k in columns]
    cells = [header, *([_cell(row, k) for k in columns] for row in rows)]
    width = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    right = [_is_numeric(rows, k) for k in columns]
    lines = []
    for line in cells:
        padded = [t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, width, right, strict=True)]
        lines.append("| " + " | ".join(padded) + " |")
    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(width, right, strict=True)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def html_table(rows: Sequence[Mapping]) -> str:
    """Rows as an HTML table: values as in `format_table`, headings as the keys of the first row are. All text is escaped."""
    kind = {key: ' class="number"' if _is_numeric(rows, key) else "" for key in rows[0]}
    header = "".join(f"<th{kind[key]}>{escape(key)}</th>" for key in kind)
    lines = ["".join(f"<td{kind[key]}>{escape(value_text(row[key]))}</td>" for key in kind) for row in rows]
    return f"<table><tr>{header}</tr>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>\n"


def _is_numeric(rows: Sequence[Mapping], key: str) -> bool:
    return all(isinstance(row[key], int | float | None) for row in rows)


def _cell(row: Mapping, key: str) -> str:
    deviation = row.get(key.removesuffix("_mean") + "_std") if key.endswith("_mean") else None
    return spread(row[key], deviation) if isinstance(row[key], float) else value_text(row[key])


def value_text(value: object) -> str:
    """A value as tables show it: floats are percentages with one decimal, None is a dash."""
    return "–" if value is None else rounded(value) if isinstance(value, float) else str(value)


def spread(mean: float | None, deviation: float | None) -> str:
    """A percentage with its deviation over runs, e.g. "54.2 ± 1.6"; without one for a single run (None)."""
    return value_text(mean) if deviation is None else f"{value_text(mean)} ± {value_text(deviation)}"


def occurrence(result: Mapping) -> str:
    """How many parts a result counts, and how it counts the others, e.g. "5 of 8 parts occur in the test shapes, the
    others count 0 (protocol mvdecor)".

    Args:
        result: `parts`, `occurring` and `protocol` of `PartMetrics.result` or metrics.json.
    """
    occurring, parts = len(result["occurring"]), len(result["parts"])
    text = f"{occurring} of {parts} parts occur in the test shapes"
    if occurring == parts:
        return text
    rule = "count 0" if result["protocol"] == "mvdecor" else "are left out unless they are predicted"
    return f"{text}, the others {rule} (protocol {result['protocol']})"


def evaluation_summary(result: Mapping) -> str:
    """What an evaluation found, in two lines.

    Args:
        result: metrics.json.
    """
    scores = f"part mIoU {rounded(result['part_miou'])}"
    ceiling = f"ceiling {rounded(result['ceiling']['part_miou'])}"
    if len(result["occurring"]) < len(result["parts"]):
        # the ceiling is of the parts that occur, and to be compared with these
        scores += f" ({rounded(result['part_miou_occurring'])} over the parts that occur, of which the {ceiling})"
    else:
        scores += f" ({ceiling})"
    undetermined = result["undetermined"]
    shapes = len(result["split"]["ids"])
    return (
        f"{scores}, shape mIoU {rounded(result['shape_miou'])}, {rounded(result['coverage'], 0)} % of the area seen, "
        f"{shapes} shapes\n{occurrence(result)}; undetermined and counted nowhere: {rounded(undetermined['area'])} % of the "
        f"area, {rounded(undetermined['faces'])} % of the faces, {len(result['undetermined_shapes'])} of {shapes} shapes whole"
    )
