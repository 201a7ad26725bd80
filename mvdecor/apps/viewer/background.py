"""Work in a separate process that writes what it says to a file: the page stays usable, and may stop it at any time."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mvdecor.engine.log import SCALARS, read_scalars


@dataclass(frozen=True)
class Progress:
    """How far a work is.

    Attributes:
        text: one line.
        share: of the present phase, in [0, 1].
        state: "running", "finished", "stopped" or "failed".
    """

    text: str
    share: float
    state: str


class Background:
    """A Python module that runs in a process of its own.

    Args:
        module: its name, run as `python -m`.
        arguments: its command line.
        output: file for what it prints.
    """

    def __init__(self, module: str, arguments: Sequence[str | Path], output: Path) -> None:
        self._command = [sys.executable, "-m", module, *map(str, arguments)]
        self._output = output
        self._process: subprocess.Popen | None = None
        self.stopped = False

    def start(self) -> None:
        """Run it."""
        self._output.parent.mkdir(parents=True, exist_ok=True)
        with self._output.open("wb") as output:
            self._process = subprocess.Popen(self._command, stdout=output, stderr=subprocess.STDOUT)

    def stop(self) -> None:
        """End it, if it runs. What it saved until then stays."""
        if self.running:
            assert self._process is not None
            self.stopped = True
            self._process.terminate()
            self._process.wait()

    def wait(self) -> None:
        """Wait until it has ended."""
        if self._process is not None:
            self._process.wait()

    @property
    def running(self) -> bool:
        """Whether it has been started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def reason(self) -> str:
        """Why it ended: the last line that it printed."""
        text = self._output.read_text(errors="replace") if self._output.exists() else ""
        lines = text.strip().splitlines()
        return lines[-1] if lines else f"it did not finish; see {self._output}"


class Pace:
    """How long a count that grows still takes, by its growth since it was first looked at."""

    def __init__(self) -> None:
        self._first: tuple[float, float] | None = None

    def left(self, count: float, total: float) -> str:
        """ ", about 40 s left", or nothing before the pace is known."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, count)
        start, before = self._first
        if count <= before or now <= start:
            return ""
        return f", about {duration((total - count) * (now - start) / (count - before))} left"


def duration(seconds: float) -> str:
    """A time for people: "40 s", "3 min", "1.5 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def training_progress(name: str, folder: Path, curve: str, steps: int, pace: Pace) -> Progress:
    """Of a training that logs to `folder/log`.

    Args:
        name: what trains, for the text.
        folder: `out` of the stage.
        curve: name of the logged loss.
        steps: of the whole training.
        pace: of this training.
    """
    file = folder / "log" / SCALARS
    losses = read_scalars(file).get(curve, []) if file.exists() else []
    if not losses:
        return Progress(f"{name}: starting (some 20 s)", 0.0, "running")
    step, loss = losses[-1]
    text = f"{name}: step {step + 1} of {steps}, loss {loss:.3f}{pace.left(step + 1, steps)}"
    return Progress(text, min(1.0, (step + 1) / steps), "running")
