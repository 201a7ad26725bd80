"""A radiance field of one capture (scripts/fit.py): fitted to its views, measured in views that were held out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from omegaconf import DictConfig
from pydantic import Field

from mvdecor.captures import make_capture_set
from mvdecor.engine.content import Files
from mvdecor.engine.record import settings_of
from mvdecor.engine.settings import Device, Precision, check_out
from mvdecor.engine.stage import STATE, Job, Stage
from mvdecor.settings import Count, PathName, Seed, Settings, WholeNumber
from mvdecor.systems.capture_files import capture_files
from mvdecor.systems.scene_fit import RadianceSettings, SceneFitSettings, chosen_capture, fit_scene

FILE = "fit.json"
"""What closes a fit in `out`."""


class FitTraining(Settings):
    """The group `training`."""

    log_every: Count


class FitSettings(SceneFitSettings):
    """configs/fit.yaml."""

    data: Annotated[dict[str, Any], Field(description="choose one of configs/data")]
    capture: Annotated[dict[str, Any], Field(description="choose one of configs/capture")]
    radiance: RadianceSettings
    training: FitTraining
    out: PathName
    id: str | None
    seed: Seed
    device: Device
    precision: Precision
    workers: WholeNumber
    progress: bool
    save_every: Count


def check_fit(cfg: DictConfig) -> None:
    """Refuse bad values; reads no data."""
    check_out(Path(FitSettings.of(cfg, complete=True).out))


def fit_settings(cfg: DictConfig) -> dict[str, Any]:
    """What the result depends on."""
    keys = [
        "seed",
        "precision",
        "id",
        "held_out",
        "fit_views",
        "foreground",
        "background",
        "space",
        "beyond",
        "schedule",
        "points",
    ]
    return settings_of(cfg, [*keys, "radiance", "capture", "-capture.root", "-capture.memory", "-capture.shapes.root"])


def fit_files(cfg: DictConfig) -> dict[str, Files]:
    """The files of the capture."""
    captures = make_capture_set(cfg.capture)
    return {"the capture": capture_files(captures, [chosen_capture(captures, cfg.id)])}


def fit(job: Job) -> dict:
    """Fit `cfg.radiance` to a capture, see `fit_scene`."""
    settings, captures = FitSettings.of(job.cfg), make_capture_set(job.cfg.capture)
    capture = captures.load(chosen_capture(captures, settings.id))
    return fit_scene(job, capture, settings.radiance, settings)


run_fit = Stage("fitting", FILE, fit, fit_settings, fit_files, check_fit, temporary=(STATE,), writes=("model",))
