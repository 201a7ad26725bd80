"""Tables of results: means and deviations over runs, and their print."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence

from mvdecor.errors import InputError


def summarize(rows: Sequence[Mapping]) -> dict:
    """Mean and sample deviation over the runs of each method and category.

    Args:
        rows: {"method", "category", "part_miou" (percent), "run"} each; a run of a method and category occurs once.

    Returns:
        {"rows": [{"method", "category", "part_miou_mean", "part_miou_std", "runs"}]}, percent, in order of first
        appearance. The deviation is that of a sample (divided by runs - 1), 0.0 for a single run.

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
                "part_miou_std": statistics.stdev(runs.values()) if len(runs) > 1 else 0.0,
                "runs": len(runs),
            }
            for (method, category), runs in groups.items()
        ]
    }


def format_table(rows: Sequence[Mapping]) -> str:
    """Rows as an aligned Markdown table, which also reads well as plain text.

    Args:
        rows: flat dicts with the keys of the first, which become the columns: those of `summarize(...)["rows"]` or
            `ceiling_table(...)`. `x_mean` and `x_std` share a column `x`; floats get one decimal, None a dash.

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
    return f"{value:.1f}" if deviation is None else f"{value:.1f} ± {deviation:.1f}"
