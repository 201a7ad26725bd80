"""Settings that the stages of all systems have: where results go, seed, device, processes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
