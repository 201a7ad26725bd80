"""Settings that the stages of all systems have: where results go, seed, device, processes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.engine.device import DEVICE
from mvdecor.errors import InputError
from mvdecor.files import is_writable, nearest_folder
from mvdecor.settings import Count, PathName, Seed, Settings, WholeNumber

Device = Annotated[
    str,
    Field(pattern=rf"\A{DEVICE}\z", description="choose auto, cpu, cuda, or cuda:N for the GPU of number N"),
]
Target = Annotated[dict[str, Any], Field(description="give {_target_: module.name} of what is to be called")]
Schedule = Annotated[
    Literal["cosine", "constant"] | dict[str, Any],
    Field(description="choose cosine or constant, or give {_target_: module.name} of a schedule of your own"),
]
Group = Annotated[dict[str, Any], Field(description="choose one of the files in configs/")]
Precision = Annotated[str | int, Field(description="give auto, or a precision of Lightning Fabric such as 32-true")]


class RunSettings(Settings):
    """What every stage takes, whatever its system; a system's own settings are fields of a subclass.

    Attributes:
        out: folder of the results.
        cache: folder of what is made once from the data and used by all runs; None: nothing is kept.
        checkpoint: the model to start from, or to measure.
        seed: of everything random.
        run: number of the few-shot run.
        device, precision: see `mvdecor.engine.device.open_device`.
        workers: processes that sample batches ahead; 0 samples them in the main process.
        progress: progress bars instead of lines.
        save_every: steps after which a loop saves its state.
    """

    out: PathName
    cache: PathName | None
    checkpoint: PathName | None
    seed: Seed
    run: WholeNumber
    device: Device
    precision: Precision
    workers: WholeNumber
    progress: bool
    save_every: Count


def check_out(out: Path, key: str = "out") -> None:
    """Raise InputError if a folder cannot be made or written to: the nearest one that exists must be writable."""
    folder = nearest_folder(out)
    if not folder.is_dir():
        raise InputError(f"{key}={out}: {folder} is a file: name a folder")
    if not is_writable(out):
        raise InputError(f"{key}={out}: {folder} cannot be written to: name another folder")


def all_of(*checks: Callable[[DictConfig], None]) -> Callable[[DictConfig], None]:
    """A check of a configuration that makes several, in order."""

    def check(cfg: DictConfig) -> None:
        for each in checks:
            each(cfg)

    return check


def refuse_checkpoint(cfg: DictConfig) -> None:
    """Raise InputError if a training that starts from initial weights is given a checkpoint."""
    if cfg.checkpoint is not None:
        raise InputError(f"checkpoint={cfg.checkpoint}: this training starts from initial weights: leave it out")


def require_checkpoint(cfg: DictConfig) -> None:
    """Raise InputError if a stage that starts from a model is given none."""
    if cfg.checkpoint is None:
        raise InputError(
            "give checkpoint=FOLDER: out/model of scripts/pretrain.py to fine-tune, of scripts/finetune.py to evaluate"
        )
