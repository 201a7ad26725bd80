"""What stages leave on disk: JSON results, whether one is there already, and what it cost."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mvdecor.errors import InputError
from mvdecor.files import write_atomically, write_json
from mvdecor.training.distributed import rank
from mvdecor.training.setup import code_changes, peak_memory_gb, provenance


def settings_of(cfg: DictConfig, keys: tuple[str, ...]) -> dict:
    """The values of some dotted keys, resolved to plain values."""
    whole: Any = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    plain: Any = OmegaConf.to_container(OmegaConf.create({k: OmegaConf.select(whole, k) for k in keys}))
    if "views" in plain:  # where face ids are read from changes no result
        plain["views"].pop("cache", None)
    return {key: plain[key] for key in keys}


def changed(cfg: DictConfig, **values: Any) -> DictConfig:
    """A copy of a configuration with other values of some top-level keys; paths as text."""
    return OmegaConf.merge(cfg, {k: str(v) if isinstance(v, Path) else v for k, v in values.items()})  # type: ignore[return-value]


def finished(file: Path, cfg: DictConfig, keys: tuple[str, ...], quiet: bool = False) -> dict | None:
    """The result in `file` if it was made with the same settings; None if there is none. Says so unless `quiet`.

    Raises:
        InputError: if it was made with other settings, or cannot be read.
    """
    if not file.exists():
        return None
    try:
        result = json.loads(file.read_bytes())
        old = OmegaConf.create(result["config"])
    except (ValueError, KeyError) as error:
        raise InputError(f"{file}: damaged result ({error}): remove it or choose another out=") from error
    before, now = settings_of(old, keys), settings_of(cfg, keys)
    differ = [key for key in keys if before[key] != now[key]]
    if differ:
        raise InputError(f"{file} holds a result made with other settings ({', '.join(differ)}): choose another out=")
    if not quiet:
        print(f"{file}: already there, made with the same settings; not run again", flush=True)
    return result


def write_result(file: Path, result: dict, cfg: DictConfig) -> dict:
    """Write a stage's JSON whole or not at all; beside it, in `code.diff`, how the code differs from its revision.

    Of several processes the first one writes.
    """
    result = {**result, **provenance(cfg), "seed": cfg.seed}
    if rank() > 0:
        return result
    if changes := code_changes():
        write_atomically(file.with_name("code.diff"), changes.encode())
    write_json(file, result)
    return result


class Cost:
    """Wall and processor time since it was made, and peak memory; with those of a run that was cut off, if restored."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()
        self._before: list[dict] = []

    def spent(self) -> dict:
        """Seconds since this was made, and the process's peak memory in GB."""
        own = {
            "wall_seconds": round(time.perf_counter() - self._wall, 1),
            "cpu_seconds": round(time.process_time() - self._cpu, 1),
            "peak_memory_gb": peak_memory_gb(),
        }
        return total_cost([*self._before, own])

    def state_dict(self) -> dict:
        """What was spent, see `Snapshots`."""
        return self.spent()

    def load_state_dict(self, state: dict) -> None:
        """Add what a run that was cut off had spent."""
        self._before = [state]


def total_cost(costs: list[dict]) -> dict:
    """Sum of the times of several stages, also of those that ran earlier and were only read; the greatest memory."""
    memory = [cost["peak_memory_gb"] for cost in costs]
    return {
        **{key: round(sum(cost[key] for cost in costs), 1) for key in ("wall_seconds", "cpu_seconds")},
        "peak_memory_gb": {kind: max(m.get(kind, 0.0) for m in memory) for kind in {k for m in memory for k in m}},
    }
