"""What the stages of a run cost, and what labelling one test shape does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mvdecor.results.pipeline import Results
from mvdecor.results.table import html_table


def cost_table(results: Results) -> str:
    """A row per stage: seconds, per test shape for the evaluations, and peak memory."""
    rows = [] if results.pretrained is None else [_row("pretraining", results.pretrained["cost"])]
    for run in results.runs:
        name = f"{run.method}, run {run.number}"
        if run.finetuned is not None:
            rows.append(_row(f"{name}: fine-tuning", run.finetuned["cost"]))
        rows.append(_row(f"{name}: evaluation", run.metrics["cost"], len(run.metrics["split"]["ids"])))
    note = "Seconds by the clock and of all processors together, and peak memory. A shape is rendered, labelled and measured."
    return html_table(rows) + f'<p class="note">{note}</p>'


def _row(stage: str, cost: Mapping[str, Any] | None, shapes: int | None = None) -> dict[str, object]:
    cost = cost or {}
    wall, cpu = cost.get("wall_seconds"), cost.get("cpu_seconds")
    memory = cost.get("peak_memory_gb") or {}
    return {
        "stage": stage,
        "seconds": wall,
        "of processors": cpu,
        "of processors, per test shape": cpu / shapes if shapes and cpu is not None else None,
        "memory in GB": ", ".join(f"{kind} {value:.1f}" for kind, value in sorted(memory.items())) or "–",
    }
