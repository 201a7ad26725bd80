"""What stages and pipelines on captures share: settings that say what was captured, and the table that closes a pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.captures import make_capture_set
from mvdecor.engine.cost import total_cost
from mvdecor.engine.distributed import rank
from mvdecor.engine.record import settings_of
from mvdecor.evaluation import capture_summary
from mvdecor.files import write_json
from mvdecor.results import format_table, summarize

CAPTURES = (
    *("seed", "precision", "capture", *(f"-capture.{key}" for key in ("root", "splits", "memory"))),
    *(f"-capture.shapes.{key}" for key in ("root", "splits", "labels")),
)
"""Where captures lie is no matter: they are compared by content. So it is with the shapes that they are rendered from."""


def capture_settings(cfg: DictConfig, *keys: str, labels: bool = True) -> dict[str, Any]:
    """Settings of the captures, and the others of `keys`; with the captures' label names if `labels`."""
    names = {"label_names": list(make_capture_set(cfg.capture).label_names)} if labels else {}
    return settings_of(cfg, [*CAPTURES, *keys]) | names


def rows_of(results: Mapping[str, Mapping[str, Any] | None], category: str, run: int) -> list[dict[str, Any]]:
    """Rows of a table, by method, of the results of a run that have a part mIoU."""
    return [
        {"method": method, "category": category, "run": run, "part_miou": result["part_miou"]}
        for method, result in results.items()
        if result is not None and result["part_miou"] is not None
    ]


def close_pipeline(
    cfg: DictConfig,
    origin: Mapping[str, Any],
    rows: list[dict[str, Any]],
    stages: Sequence[Mapping[str, Any]],
    measured: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write `out/table.json` and print the table: the rows, the cost of the stages, and a line per run that was measured."""
    table = {"runs": rows, "cost": total_cost([stage["cost"] for stage in stages])} | (summarize(rows) if rows else {})
    if rank() == 0:
        write_json(Path(cfg.out) / "table.json", table | dict(origin) | {"seed": cfg.seed})
    if rows:
        print("\n" + format_table(table["rows"]))
    for run, metrics in enumerate(measured):
        print(f"run {run}: {capture_summary(metrics)}")
    return table
