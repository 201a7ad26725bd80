"""Progress bar, TensorBoard scalars and pictures of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.utils.tensorboard import SummaryWriter


class Log:
    """Where a loop's figures go: `folder` for TensorBoard, the terminal for the bar with loss, accuracy and time left.

    Args:
        folder: TensorBoard folder; None writes nothing.
        every: steps between logged scalars.
        bar: show a progress bar; without it, or where there is no terminal, a line is printed now and then instead.
        first: step that the loop goes on with; figures of this step and later ones, of a run that was cut off, are dropped.
    """

    def __init__(self, folder: Path | None, every: int = 50, bar: bool = True, first: int = 0) -> None:
        self.every = every
        self._writer = SummaryWriter(str(folder), purge_step=first or None) if folder is not None else None
        self._bar = bar and Console().is_terminal
        self._progress: Progress | None = None
        self._total = 0

    def due(self, step: int) -> bool:
        """Whether scalars are logged at this step (0-based)."""
        return step % self.every == 0

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
        with Progress(*columns, disable=not self._bar, transient=True) as progress:
            task = progress.add_task(name, total=steps, completed=first, figures="")
            self._progress = progress
            for step in range(first, steps):
                yield step
                progress.advance(task)
        self._progress = None

    def scalars(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Log figures as `group/name` and show them beside the bar."""
        text = "  ".join(f"{name} {value:.4g}" for name, value in figures.items())
        if self._progress is not None and self._bar:
            self._progress.update(self._progress.task_ids[0], figures=text)
        if (not self._bar or self._progress is None) and (step % (self.every * 10) == 0 or "validation" in group):
            print(f"{group} step {step + 1}/{self._total}: {text}", flush=True)
        if self._writer is not None:
            for name, value in figures.items():
                self._writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, name: str, image: np.ndarray, step: int = 0) -> None:
        """Log a picture, uint8 [H, W, 3]."""
        if self._writer is not None:
            self._writer.add_image(name, image, step, dataformats="HWC")

    def close(self) -> None:
        """Write out what is still in memory."""
        if self._writer is not None:
            self._writer.close()
