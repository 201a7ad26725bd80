"""The stages of the U-Net baselines of Semantic SRN: finetune, evaluate, and the pipeline of the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.captures import make_capture_set
from mvdecor.engine.content import Files
from mvdecor.engine.guard import guard
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed
from mvdecor.engine.settings import all_of, refuse_checkpoint, require_checkpoint
from mvdecor.engine.stage import STATE, Stage
from mvdecor.fields import field_file
from mvdecor.systems.capture_evaluation import MEASURED
from mvdecor.systems.capture_files import capture_files
from mvdecor.systems.capture_pipeline import capture_settings, close_pipeline, rows_of
from mvdecor.systems.made_up import write_made_up
from mvdecor.systems.mvdecor.keys import without_smoothing
from mvdecor.systems.view_unet.checkpoint import unet_file
from mvdecor.systems.view_unet.evaluate import evaluate, open_field
from mvdecor.systems.view_unet.finetune import finetune
from mvdecor.systems.view_unet.settings import check_config

OF_TRAINING = ("k", "v", "steps", "objects", "learning_rate", "optimizer", "schedule", "balanced")


def finetune_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the training."""
    keys = (f"training.finetune.{name}" for name in OF_TRAINING)
    return capture_settings(cfg, "run", "network", *keys)


def evaluate_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the evaluation; the field's own come with its folder."""
    left_out = [f"-evaluation.{name}" for name in ("split", "limit", "clouds", "field", "mean_code")]
    return capture_settings(cfg, "lifting", *without_smoothing(cfg.lifting), "evaluation", *left_out)


def finetune_files(cfg: DictConfig) -> dict[str, Files]:
    """The captures to choose from, and the split file if there is one."""
    captures, split, pretrain = make_capture_set(cfg.capture), cfg.training.finetune.split, cfg.training.pretrain
    pretrained = set(captures.ids(pretrain.split)[: pretrain.limit])
    ids = [id for id in captures.ids("train") if id in pretrained]
    files = {"the training captures": capture_files(captures, ids)}
    return files | ({} if split is None else {"training.finetune.split": Files.of([split])})


def evaluate_files(cfg: DictConfig) -> dict[str, Files]:
    """The test captures, the U-Net, and the field whose renderings it labels."""
    captures, settings = make_capture_set(cfg.capture), cfg.evaluation
    ids = captures.ids(settings.split)[: settings.limit]
    files = {"the test captures": capture_files(captures, ids), "checkpoint": Files.of([unet_file(cfg.checkpoint)])}
    return files | ({} if settings.sees == "views" else {"evaluation.field": Files.of([field_file(settings.field)])})


CHECK_FINETUNE = all_of(check_config, refuse_checkpoint)
CHECK_EVALUATE = all_of(check_config, require_checkpoint)

run_finetune = Stage(
    "fine-tuning", "finetune.json", finetune, finetune_settings, finetune_files, CHECK_FINETUNE, (STATE,), ("model",)
)
run_evaluate = Stage(
    "evaluation", "metrics.json", evaluate, evaluate_settings, evaluate_files, CHECK_EVALUATE, (MEASURED,)
)


def run_pipeline(cfg: DictConfig) -> dict:
    """Train and evaluate each few-shot run; writes `out/table.json`."""
    check_config(cfg)
    open_field(cfg)  # refused before the training
    with guard(Path(cfg.out)):
        return _pipeline(cfg)


def _pipeline(cfg: DictConfig) -> dict:
    out, origin, method = Path(cfg.out), provenance(cfg), (cfg.method or {}).get("name", cfg.system)
    if cfg.capture.get("shapes"):
        write_made_up(cfg)
    stages: list[dict] = []
    rows: list[dict[str, Any]] = []
    for run in range(cfg.training.finetune.runs):
        folder = out / method / f"run_{run}"
        stages.append(run_finetune(changed(cfg, out=folder, run=run)))
        stages.append(run_evaluate(changed(cfg, out=folder, run=run, checkpoint=folder / "model")))
        rows += rows_of({method: stages[-1]}, stages[-1]["category"], run)
    table = close_pipeline(cfg, origin, rows, stages, stages[1::2])
    print(f"pictures and figures: {out}/{method}/run_*")
    return table
