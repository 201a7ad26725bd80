"""scripts/benchmark.py: measure some rows or all, print the table, write the JSON file."""

from __future__ import annotations

from pathlib import Path

import torch
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from mvdecor.apps.benchmark.measure import Row
from mvdecor.apps.benchmark.rows import ROWS
from mvdecor.apps.benchmark.scaling import plot_scaling
from mvdecor.apps.benchmark.shapes import open_shapes
from mvdecor.errors import InputError
from mvdecor.files import write_json


def run_benchmark(cfg: DictConfig) -> list[Row]:
    """Measure `cfg.rows` (all if null) and print them; a row that cannot be measured says why and does not stop the others.

    Raises:
        InputError: an unknown row or device, or a row asked for by name that cannot be measured.
    """
    names = list(ROWS) if cfg.rows is None else list(cfg.rows)
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        raise InputError(f"rows: {unknown[0]} is unknown: choose of {', '.join(ROWS)}")
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
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device={name} is unknown: choose auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but PyTorch sees no CUDA device here: use device=cpu or auto")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
