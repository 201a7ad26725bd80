"""scripts/benchmark.py: measure some rows or all, print the table, write the JSON file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from omegaconf import DictConfig
from pydantic import Field, field_validator
from rich.console import Console
from rich.table import Table

from mvdecor.apps.benchmark.measure import Row
from mvdecor.apps.benchmark.rows import ROWS
from mvdecor.apps.benchmark.scaling import plot_scaling
from mvdecor.apps.benchmark.shapes import open_shapes
from mvdecor.engine.settings import Device
from mvdecor.errors import InputError
from mvdecor.files import write_json
from mvdecor.settings import Count, PathName, Settings, Text

Counts = Annotated[list[Count], Field(min_length=1, description="give a list of whole numbers of at least 1")]


class BenchmarkSettings(Settings):
    """configs/benchmark.yaml, which says what each setting is."""

    json_file: PathName | None = Field(alias="json")
    rows: Annotated[list[str], Field(description=f"give a list of some of {', '.join(ROWS)}")] | None
    plot: PathName | None
    shapes: PathName | None
    device: Device
    repeats: Count
    slow_repeats: Count
    size: Count
    num_views: Count
    slow_views: Count
    pairs: Count
    points: Count
    dim: Count
    classes: Count
    vote_faces: Count
    vote_sample: Count
    view_faces: Count
    scaling_faces: Annotated[
        tuple[Count, Count], Field(strict=False, description="give two whole numbers of at least 1, [few,many]")
    ]
    step_experiment: Text
    overrides: Annotated[list[str], Field(description="give a list of overrides")]
    steps: Count
    few_shapes: Count
    evaluate_network: Text
    samples: Count
    plot_views: Counts
    plot_faces: Counts
    plot_shapes: Counts

    @field_validator("rows")
    @classmethod
    def _known(cls, rows: list[str] | None) -> list[str] | None:
        if any(name not in ROWS for name in rows or ()):
            raise ValueError(f"give a list of some of {', '.join(ROWS)}, or null")
        return rows


def run_benchmark(cfg: DictConfig) -> list[Row]:
    """Measure `cfg.rows` (all if null) and print them; a row that cannot be measured says why and does not stop the others.

    Raises:
        InputError: an unknown row or device, or a row asked for by name that cannot be measured.
    """
    BenchmarkSettings.of(cfg)
    names = list(ROWS) if cfg.rows is None else list(cfg.rows)
    device = _device(cfg.device)
    rows: list[Row] = []
    with open_shapes(cfg.shapes) as shapes:
        print(f"{shapes.kind} shapes", flush=True)
        for name in names:
            try:
                rows.append(ROWS[name](cfg, shapes, device))
            except InputError as error:
                if cfg.rows is not None:
                    raise
                print(f"warning: row {name} is left out: {error}")
                continue
            print(f"{name}: {rows[-1].ratio:.3g}", flush=True)
        if cfg.plot is not None:
            plot_scaling(cfg, shapes, device, Path(cfg.plot))
            print(f"plot: {cfg.plot}")
    print_table(rows)
    if cfg.json is not None:
        write_json(cfg.json, [row.to_json() for row in rows])
    return rows


def print_table(rows: list[Row]) -> None:
    """Medians with the least and greatest of the runs, the ratio, and whether it is what it should be."""
    table = Table("row", "ours", "reference", "unit", "ratio", "goal", "size", "device")
    for row in rows:
        goal = f"{'at least' if row.more else 'at most'} {row.goal:g}{'' if row.reached else ' (missed)'}"
        table.add_row(
            row.row, str(row.ours), str(row.reference), row.unit, f"{row.ratio:.3g}", goal, row.size, row.device
        )
    Console(width=None if Console().is_terminal else 200).print(table)


def _device(name: str) -> torch.device:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device={name}, but PyTorch sees no CUDA device here: use device=cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda" if name == "auto" else name)
