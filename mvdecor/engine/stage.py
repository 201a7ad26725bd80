"""A stage: a piece of work that reads a configuration and files, and closes with a JSON file of what it found.

A system declares its stages; `run` does the rest for all of them. It checks the settings, locks the folder, returns the
finished result if its settings and the content of all that it read are the same, notes code and machine before the work,
closes logs whatever happens, counts the cost, and writes the JSON file last.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric
from omegaconf import DictConfig

from mvdecor.engine.content import Files
from mvdecor.engine.cost import Cost
from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import barrier, rank
from mvdecor.engine.guard import guard
from mvdecor.engine.log import Log
from mvdecor.engine.loop import Loop
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import Key, read_result, write_result
from mvdecor.engine.snapshots import Snapshots

STATE = "state"
"""The folder in `out` of a training under way; a stage that trains has it among its `temporary` ones."""


@dataclass(frozen=True)
class Stage:
    """What a system declares.

    Attributes:
        name: what it does, for people: "fine-tuning".
        file: the JSON file in `cfg.out` that closes it: "finetune.json".
        work: does it; returns what the file holds beside provenance, cost and key.
        settings: all settings that the result depends on, and no more, by dotted key.
        reads: the files that it reads, by what they are ("checkpoint", "shapes"), each identified by its content.
        check: refuses a bad configuration before anything else; reads no data.
        temporary: folders in `cfg.out` that hold the state under way, removed when the result is written.
        writes: folders in `cfg.out` that others read; where one is gone, the stage is not finished any more.
    """

    name: str
    file: str
    work: Callable[[Job], dict[str, Any]]
    settings: Callable[[DictConfig], dict[str, Any]]
    reads: Callable[[DictConfig], Mapping[str, Files]] = lambda cfg: {}
    check: Callable[[DictConfig], None] = lambda cfg: None
    temporary: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()

    def key(self, cfg: DictConfig) -> Key:
        """What the result depends on."""
        return Key(files=self.reads(cfg), settings=self.settings(cfg))

    def result(self, cfg: DictConfig) -> dict | None:
        """The finished result of this configuration; None if there is none. InputError if that of another is there."""
        file = Path(cfg.out) / self.file
        return self.finished(file, self.key(cfg), quiet=True) if file.exists() else None

    def finished(self, file: Path, key: Key, quiet: bool = False) -> dict | None:
        """The result in `file`, see `read_result`; None too where something of `writes` is gone. Says so unless `quiet`."""
        result = read_result(file, key)
        if result is None:
            return None
        gone = [str(file.with_name(name)) for name in self.writes if not file.with_name(name).exists()]
        if not quiet:
            then = f"but {gone[0]} is gone: run again" if gone else "with the same settings and inputs; not run again"
            print(f"{file}: finished before {then}", flush=True)
        return None if gone else result

    def __call__(self, cfg: DictConfig) -> dict:
        """Run it, see `run`."""
        return run(self, cfg)


@dataclass
class Job:
    """What a stage at work has of the engine.

    Attributes:
        cfg: the configuration.
        stage: what is run.
        key: what the result depends on, as plain values.
        provenance: code and machine when the stage began.
        cost: what was spent so far.
        snapshots: the saved state of a loop that was cut off, and where this one's is saved.
    """

    cfg: DictConfig
    stage: Stage
    key: dict[str, Any]
    provenance: dict[str, Any]
    cost: Cost
    snapshots: Snapshots
    _exit: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    @property
    def out(self) -> Path:
        """The folder of the result."""
        return Path(self.cfg.out)

    def open_device(self, unused_weights: bool = False) -> Fabric:
        """Device, precision and processes of the configuration, see `open_device`."""
        return open_device(self.cfg.device, self.cfg.precision, unused_weights)

    def loop(self, fabric: Fabric) -> Loop:
        """What a training loop of this stage has: device, log, snapshots, workers."""
        return Loop(fabric, self.log, self.snapshots, self.cfg.workers)

    @cached_property
    def log(self) -> Log:
        """Scalars and pictures in `out/log`; closed when the stage ends, however it ends."""
        log = Log(self.out / "log", self.cfg.training.log_every, self.cfg.progress, self.snapshots.step)
        self._exit.callback(log.close)
        return log


def run(stage: Stage, cfg: DictConfig) -> dict:
    """Run a stage in `cfg.out`, or return its finished result. Of several processes the first one writes.

    Raises:
        InputError: bad settings or input; a folder that another process works in, or that holds another result; an accident
            such as a full disk, told plainly. A result is written whole or not at all.
    """
    stage.check(cfg)
    out = Path(cfg.out)
    with guard(out):
        key = stage.key(cfg)
        result = stage.finished(out / stage.file, key)
        if result is None:
            job = _begin(stage, cfg, key.record())
            with job._exit:
                result = stage.work(job)
            result = write_result(out / stage.file, {**result, "cost": job.cost.gather()}, job.provenance, job.key)
            barrier()
        if rank() == 0:
            for name in stage.temporary:
                shutil.rmtree(out / name, ignore_errors=True)
        barrier()
        return result


def _begin(stage: Stage, cfg: DictConfig, key: dict[str, Any]) -> Job:
    """The job of a stage. A saved state of other settings or inputs is refused here, before any work."""
    cost, snapshots = Cost(), Snapshots()
    if STATE in stage.temporary:
        content = {f"the content of {name}": files["sha256"] for name, files in key["content"].items()}
        snapshots = Snapshots(Path(cfg.out) / STATE, cfg.save_every, {**key["settings"], **content}, {"cost": cost})
    return Job(cfg, stage, key, provenance(cfg), cost, snapshots)
