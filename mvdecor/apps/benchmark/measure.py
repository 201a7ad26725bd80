"""One row of the table, and how its figures are measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch


@dataclass(frozen=True)
class Spread:
    """Median of repeated runs, and the least and the greatest."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def rate(self, count: float) -> Spread:
        """Of seconds for `count` items: items per second."""
        return Spread(count / self.median, count / self.high, count / self.low)

    def scaled(self, factor: float) -> Spread:
        """All three times a factor."""
        return Spread(factor * self.median, factor * self.low, factor * self.high)

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.median:.4g}"
        return f"{self.median:.4g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Training:
    """What `projection` needs to know of a training, beside the times of its row.

    Attributes:
        name: e.g. "pretraining of experiment=partnet".
        steps: of the whole training.
        images: per step.
        sampling: milliseconds to prepare the batch of a step.
    """

    name: str
    steps: int
    images: int
    sampling: float


@dataclass(frozen=True)
class Row:
    """A figure of ours beside that of a reference.

    Attributes:
        row: its name.
        ours, reference: in `unit`.
        unit: e.g. "ms per pair".
        size: what it was measured on, and whatever else must be known.
        device: "cpu (2 threads)" or the GPU's name.
        goal: the ratio it should have; None if there is none.
        ratio_of: what the ratio is. "gain": reference / ours, how many times faster or smaller; the goal is a least value.
            "growth": ours / reference, how much more; the goal is a greatest value. "rate": ours / reference of figures of
            which more is better; the goal is a least value.
        training: what a step is projected with; None of other rows.
    """

    row: str
    ours: Spread
    reference: Spread
    unit: str
    size: str
    device: str
    goal: float | None
    ratio_of: Literal["gain", "growth", "rate"] = "gain"
    training: Training | None = None

    @property
    def ratio(self) -> float:
        if self.ratio_of == "gain":
            return self.reference.median / self.ours.median
        return self.ours.median / self.reference.median

    @property
    def reached(self) -> bool:
        """Whether the ratio is as it should be."""
        if self.goal is None:
            return True
        return self.ratio <= self.goal if self.ratio_of == "growth" else self.ratio >= self.goal

    def to_json(self) -> dict:
        """The row as it is written to a file: medians only."""
        return {
            "row": self.row,
            "ours": self.ours.median,
            "reference": self.reference.median,
            "ratio": self.ratio,
            "goal": self.goal,
            "reached": self.reached,
            "unit": self.unit,
            "size": self.size,
            "device": self.device,
        }


def time_steps(run: Callable[[], object], skipped: int, steps: int, device: torch.device) -> list[float]:
    """Milliseconds of each of some steps, after those that are skipped.

    On a GPU one figure, the mean: waiting after each step would keep the host from running ahead.
    """
    for _ in range(skipped):
        run()
    if device.type != "cuda":
        return [1e3 * seconds_of(run, device) for _ in range(steps)]
    return [1e3 * seconds_of(lambda: [run() for _ in range(steps)], device) / steps]


def time_runs(run: Callable[[], object], repeats: int, device: torch.device, divisor: float = 1.0) -> Spread:
    """Seconds of `repeats` runs divided by `divisor`, after one that does not count."""
    run()
    return Spread.of([seconds_of(run, device) / divisor for _ in range(repeats)])


def time_both(
    ours: Callable[[], object],
    reference: Callable[[], object],
    repeats: int,
    device: torch.device,
    divisor: float = 1.0,
) -> tuple[Spread, Spread]:
    """`time_runs` of two functions alternately, so that other load on the machine slows both."""
    ours(), reference()
    seconds = [(seconds_of(ours, device) / divisor, seconds_of(reference, device) / divisor) for _ in range(repeats)]
    our_seconds, reference_seconds = zip(*seconds, strict=True)
    return Spread.of(list(our_seconds)), Spread.of(list(reference_seconds))


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of one run."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def processor_seconds(run: Callable[[], object]) -> float:
    """Seconds of one run that this process computed on all cores: what other load on the machine does not change much."""
    start = time.process_time()
    run()
    return time.process_time() - start


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def device_name(device: torch.device) -> str:
    """For the table."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def peak_memory(make: Callable[..., Callable[[], object]], device: torch.device, *args: object) -> float:
    """Greatest memory in MB that `make(device, *args)()` takes above what is in use when it starts.

    On the CPU a fresh process measures it, by the kernel's own record of its resident memory (Linux): in this one, memory
    that earlier work has given back would be taken again unseen. `make` must therefore be a function of a module.
    """
    if device.type == "cuda":
        run = make(device, *args)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak_resident, (make, args, torch.get_num_threads()))


def _peak_resident(make: Callable[..., Callable[[], object]], args: tuple, threads: int) -> float:
    torch.set_num_threads(threads)
    run = make(torch.device("cpu"), *args)
    Path("/proc/self/clear_refs").write_text("5")  # sets the record back to what is resident now
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / 1e3


def _status(field: str) -> float:
    """A field of this process's status, kB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
