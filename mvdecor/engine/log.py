"""Progress bar of a run; its scalars for TensorBoard and as CSV, its pictures, and its settings beside its results."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter

from mvdecor.engine.distributed import rank
from mvdecor.files import write_atomically
from mvdecor.progress import Timer

SCALARS = "scalars.csv"
COLUMNS = ("step", "name", "value")
PICTURES = 4
"""Pictures of a loop: at its end, and at a half, a quarter and an eighth of it, since most happens early."""
HPARAMS = (
    "method.name",
    "data.category",
    "seed",
    "run",
    "views",
    "network",
    "loss",
    "training",
    "lifting",
    "evaluation",
)
"""What TensorBoard's HPARAMS shows of the configuration: values, and whole groups."""


class Log:
    """Where a loop's figures go: `folder` for TensorBoard and CSV, the terminal for the bar with loss and time left.

    `folder/scalars.csv` has a row for each scalar: step, name, value.

    Args:
        folder: TensorBoard folder; None writes nothing. Of several processes the first one writes.
        every: steps between logged scalars.
        bar: show a progress bar; without it, or where there is no terminal, lines are printed instead: after the first
            step, at validations, at the end, and in between every 30 seconds.
        first: step that the loop goes on with; figures of this step and later ones, of a run that was cut off, are dropped.
    """

    def __init__(
        self,
        folder: Path | None,
        every: int = 50,
        bar: bool = True,
        first: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.every = every
        folder = folder if rank() == 0 else None
        self._writer = SummaryWriter(str(folder), purge_step=first) if folder is not None else None
        self._table = _open_table(folder / SCALARS, first) if folder is not None else None
        self._bar = bar and Console().is_terminal
        self._progress: Progress | None = None
        self._total = 0
        self._clock = clock
        self._timer: Timer | None = None  # of the loop under `progress`, if it prints lines
        self._latest = (0, "")  # step and figures logged last

    def due(self, step: int) -> bool:
        """Whether scalars are logged at this step (0-based)."""
        return step % self.every == 0

    def picture_due(self, step: int) -> bool:
        """Whether a picture is due after this step (0-based) of the loop under `progress`."""
        return self._writer is not None and step + 1 in {self._total >> k for k in range(PICTURES)}

    def progress(self, steps: int, name: str, first: int = 0) -> Iterator[int]:
        """Count first .. steps - 1 under a progress bar."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[figures]}"),
        )
        self._total = steps
        self._timer = None if self._bar else Timer(clock=self._clock)
        with Progress(*columns, disable=not self._bar, transient=True) as progress:
            task = progress.add_task(name, total=steps, completed=first, figures="")
            self._progress = progress
            for step in range(first, steps):
                yield step
                progress.advance(task)
                self._tell(name, step, first)
        self._progress = self._timer = None

    def _tell(self, name: str, step: int, first: int) -> None:
        """Print a line after the first and the last step, and in between where the last one is old."""
        if self._timer is not None and (step in (first, self._total - 1) or self._timer.due()):
            left = self._timer.text(step + 1 - first, self._total - first)
            logged, figures = self._latest
            figures += f" (of step {logged + 1})" if figures and logged != step else ""
            print(f"{name} step {step + 1}/{self._total}, {left}: {figures or 'no figures yet'}", flush=True)
            self._timer.printed()

    def scalars(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Log figures as `group/name` and show them beside the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._progress is not None and self._bar:
            self._progress.update(self._progress.task_ids[0], figures=text)
        if "validation" not in group:
            self._latest = (step, text)
        elif not self._bar:
            print(f"{group} step {step + 1}/{self._total}: {text}", flush=True)
        if self._writer is not None and self._table is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)
            csv.writer(self._table, lineterminator="\n").writerows(
                [step, f"{group}/{name}", value] for name, value in figures.items()
            )
            self._table.flush()

    def picture(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Log a picture, uint8 [H, W, 3]."""
        if self._writer is not None:
            self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._writer is not None and self._table is not None:
            self._writer.close()
            self._table.close()


def read_scalars(file: Path) -> dict[str, list[tuple[int, float]]]:
    """The scalars of `scalars.csv` by name, each as (step, value) in the order logged; a row cut off by a kill is left out."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for step, name, value in _rows(file):
        curves.setdefault(name, []).append((int(step), float(value)))
    return curves


def log_outcome(folder: Path, cfg: DictConfig, metrics: Mapping[str, float]) -> None:
    """Log a run's settings with its final metrics: a row of TensorBoard's HPARAMS, which compares runs."""
    if rank() > 0:
        return
    full_config: Any = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    settings: dict[str, Any] = {}
    for key in HPARAMS:
        settings |= _leaves(key, OmegaConf.select(full_config, key))
    with SummaryWriter(str(folder)) as writer:  # "." for this folder instead of a new one below it
        writer.add_hparams(settings, dict(metrics), run_name=".")


def _leaves(key: str, value: Any) -> dict[str, Any]:
    """Values by dotted key; whatever is no number or word (lists, null) as text."""
    if isinstance(value, DictConfig):
        parts = [_leaves(".".join((key, str(name))), value[name]) for name in value]
        return {k: v for part in parts for k, v in part.items()}
    return {key: value if isinstance(value, bool | int | float | str) else str(value)}


def _open_table(file: Path, first: int) -> TextIO:
    """The CSV file, opened to go on after the rows of the steps before `first`, which are all that is kept of it."""
    content = io.StringIO()
    rows = [row for row in _rows(file) if int(row[0]) < first] if file.exists() else []
    csv.writer(content, lineterminator="\n").writerows([COLUMNS, *rows])
    write_atomically(file, content.getvalue().encode())
    return file.open("a", newline="")


def _rows(file: Path) -> list[list[str]]:
    """The rows below the header; the last one only if its line has an end."""
    lines = file.read_text().splitlines(keepends=True)
    complete = [line for line in lines if line.endswith("\n")]
    return [row for row in csv.reader(complete[1:]) if len(row) == len(COLUMNS)]
