"""Tables of results: means and deviations over runs, and their print."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

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
        where = f"run {row['run']} of {row['method']} on {row['category']}"
        value, runs = row["part_miou"], groups.setdefault((row["method"], row["category"]), {})
        if row["run"] in runs:
            raise InputError(f"{where} is in the results twice; count each run once")
        if value is None or not math.isfinite(value):
            raise InputError(
                f"{where} has part mIoU {value}: nothing was measured; check that its test shapes have labels"
            )
        runs[row["run"]] = float(value)
    return {
        "rows": [
            {
                "method": method,
                "category": category,
                "part_miou_mean": statistics.fmean(runs.values()),
                "part_miou_std": statistics.stdev(runs.values()) if len(runs) > 1 else None,
                "runs": len(runs),
            }
            for (method, category), runs in groups.items()
        ]
    }


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
    right = [all(isinstance(row[k], int | float | None) for row in rows) for k in columns]
    lines = [
        "| " + " | ".join(t.rjust(w) if r else t.ljust(w) for t, w, r in zip(line, width, right, strict=True)) + " |"
        for line in cells
    ]
    rule = "|" + "|".join("-" * (w + 1) + (":" if r else "-") for w, r in zip(width, right, strict=True)) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(row: Mapping, key: str) -> str:
    value = row[key]
    if value is None:
        return "–"
    if not isinstance(value, float):
        return str(value)
    deviation = row.get(key.removesuffix("_mean") + "_std") if key.endswith("_mean") else None
    return spread(value, deviation)


def spread(mean: float, deviation: float | None) -> str:
    """A percentage with its deviation over runs, e.g. "54.2 ± 1.6"; without one for a single run (None)."""
    return rounded(mean) if deviation is None else f"{rounded(mean)} ± {rounded(deviation)}"


def occurrence(result: Mapping) -> str:
    """How many parts a result counts, and how it counts the others, e.g. "5 of 8 parts occur in the test shapes, the
    others count 0 (protocol mvdecor)".

    Args:
        result: `parts`, `occurring` and `protocol` of `PartMetrics.result` or metrics.json.
    """
    there, parts = len(result["occurring"]), len(result["parts"])
    text = f"{there} of {parts} parts occur in the test shapes"
    if there == parts:
        return text
    others = "count 0" if result["protocol"] == "mvdecor" else "are left out unless they are predicted"
    return f"{text}, the others {others} (protocol {result['protocol']})"


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
