"""scripts/benchmark.py: measure some rows or all, print the table, write the JSON file."""

from __future__ import annotations

import time
import traceback
from pathlib import Path
from typing import Annotated

import torch
from omegaconf import DictConfig
from pydantic import Field, field_validator
from rich.console import Console
from rich.table import Table

from mvdecor.apps.benchmark.measure import Row
from mvdecor.apps.benchmark.projection import project, projection_table
from mvdecor.apps.benchmark.rows import ROWS
from mvdecor.apps.benchmark.scaling import plot_scaling
from mvdecor.apps.benchmark.shapes import open_shapes
from mvdecor.engine.provenance import provenance
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
    rate_faces: Annotated[
        tuple[Count, Count, Count], Field(strict=False, description="give three whole numbers of at least 1")
    ]
    slow_size: Count
    step_experiment: Text | None
    overrides: Annotated[list[str], Field(description="give a list of overrides")]
    steps: Count
    few_shapes: Count
    evaluate_network: Text
    few_captures: Count
    field_objects: Count
    field_rays: Count
    field_loop_rays: Count
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
    """Measure `cfg.rows` (all if null) and print them; of all rows, one that fails says why and does not stop the others.

    The file `cfg.json` is written again after each row, so that a run that is cut off leaves what it has measured.

    Raises:
        InputError: an unknown row or device, or a row asked for by name that cannot be measured.
        RuntimeError: after the table, if a row failed for any other reason than missing shapes or libraries.
    """
    BenchmarkSettings.of(cfg)
    names = list(ROWS) if cfg.rows is None else list(cfg.rows)
    device = _device(cfg.device)
    rows: list[Row] = []
    left_out: dict[str, Exception] = {}
    origin, start = provenance(cfg), time.perf_counter()
    with open_shapes(cfg.shapes, cfg.vote_faces) as shapes:
        print(f"{shapes.kind} shapes", flush=True)
        for name in names:
            before = time.perf_counter()
            try:
                rows.append(ROWS[name](cfg, shapes, device))
                print(f"{name}: {rows[-1].ratio:.3g} ({time.perf_counter() - before:.0f} s)", flush=True)
            except Exception as error:
                if cfg.rows is not None:
                    raise
                left_out[name] = error
                if not isinstance(error, InputError):
                    traceback.print_exc()
                print(f"warning: row {name} is left out: {error}", flush=True)
            if cfg.json is not None:
                write_json(cfg.json, _result(rows, left_out) | origin)
        if cfg.plot is not None:
            plot_scaling(cfg, shapes, device, Path(cfg.plot))
            print(f"plot: {cfg.plot}")
    print_table(rows)
    if cfg.json is not None:
        write_json(cfg.json, _result(rows, left_out) | origin)
    print(f"measured in {time.perf_counter() - start:.0f} s")
    if failed := [name for name, error in left_out.items() if not isinstance(error, InputError)]:
        raise RuntimeError(f"benchmark: rows that failed, for the reasons above: {', '.join(failed)}")
    return rows


def _result(rows: list[Row], left_out: dict[str, Exception]) -> dict:
    """The rows, what they say of whole trainings, and why others are missing, as plain values."""
    return {
        "rows": [row.to_json() for row in rows],
        "trainings": _projections(rows),
        "left_out": {name: f"{type(error).__name__}: {error}" for name, error in left_out.items()},
    }


def _projections(rows: list[Row]) -> list[dict]:
    return [project(row) for row in rows if row.training is not None]


def print_table(rows: list[Row]) -> None:
    """Medians with the least and greatest of the runs, the ratio, and whether it is what it should be; then whole trainings."""
    table = Table("row", "ours", "reference", "unit", "ratio", "goal", "size", "device")
    for row in rows:
        bound = "at most" if row.ratio_of == "growth" else "at least"
        goal = "" if row.goal is None else f"{bound} {row.goal:g}{'' if row.reached else ' (missed)'}"
        table.add_row(
            row.row, str(row.ours), str(row.reference), row.unit, f"{row.ratio:.3g}", goal, row.size, row.device
        )
    console = Console(width=None if Console().is_terminal else 200)
    console.print(table)
    if projections := _projections(rows):
        console.print(projection_table(projections))


def _device(name: str) -> torch.device:
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(f"device={name}, but PyTorch sees no CUDA device here: use device=cpu or auto")
    if name == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda" if name == "auto" else name)
