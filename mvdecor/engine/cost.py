"""What a stage costs: wall time, processor time and memory, workers and all processes included."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import torch
import torch.distributed as dist


class Cost:
    """Wall and processor time since it was made, and peak memory; with those of a run that was cut off, if restored."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), _cpu_seconds()
        self._before: list[dict] = []
        self._all: dict | None = None

    def gather(self) -> dict:
        """The cost so far of all processes together, which all must ask for: wall seconds, the sum of their processor
        seconds (workers included), the largest memory of a process in GB."""
        costs: list = [self.here()]
        if dist.is_initialized():
            costs = [None] * dist.get_world_size()
            dist.all_gather_object(costs, self.here())
        total = total_cost(costs) | {"wall_seconds": max(cost["wall_seconds"] for cost in costs)}
        self._all = total_cost([*self._before, total])
        return self._all

    def here(self) -> dict:
        """The same of this process and its workers alone, without what was restored."""
        return {
            "wall_seconds": round(time.perf_counter() - self._wall, 1),
            "cpu_seconds": round(_cpu_seconds() - self._cpu, 1),
            "peak_memory_gb": peak_memory_gb(),
        }

    def state_dict(self) -> dict:
        """What was gathered last, see `Snapshots`."""
        return self._all or self.gather()

    def load_state_dict(self, state: dict) -> None:
        """Add what a run that was cut off had spent; of several processes the first one does."""
        self._before = [state]


def total_cost(costs: list[dict]) -> dict:
    """Sum of the times of several stages, also of those that ran earlier and were only read; the greatest memory."""
    memory = [cost["peak_memory_gb"] for cost in costs]
    return {
        **{key: round(sum(cost[key] for cost in costs), 1) for key in ("wall_seconds", "cpu_seconds")},
        "peak_memory_gb": {kind: max(m.get(kind, 0.0) for m in memory) for kind in {k for m in memory for k in m}},
    }


def peak_memory_gb() -> dict[str, float]:
    """Largest memory of this process or one of its workers so far, in GB: of the host and, if used, of the GPU."""
    largest = max(resource.getrusage(owner).ru_maxrss for owner in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = {"host": largest / 1e6}
    if torch.cuda.is_initialized():
        peak["gpu"] = torch.cuda.max_memory_allocated() / 1e9
    return peak


def _cpu_seconds() -> float:
    """Processor time of this process, its workers that ended, and (on Linux) those that still run."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime + _running_children_seconds(os.getpid())


def _running_children_seconds(process: int) -> float:
    """Processor time of the running children of a process and of theirs; 0 where there is no /proc."""
    seconds = 0.0
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            children = file.read_text().split()
        except OSError:  # the thread ended
            continue
        for child in children:
            try:
                fields = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()
            except OSError:  # the child ended
                continue
            # user and system time of the child, then of its children that ended
            seconds += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
            seconds += _running_children_seconds(int(child))
    return seconds
