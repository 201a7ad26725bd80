"""The stages of Semantic SRN: pretrain, finetune, evaluate, and the pipeline of the three."""

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
from mvdecor.systems.semantic_srn.evaluate import evaluate
from mvdecor.systems.semantic_srn.finetune import finetune
from mvdecor.systems.semantic_srn.pretrain import pretrain
from mvdecor.systems.semantic_srn.settings import check_config, check_shares, check_source


def pretrain_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the pretraining."""
    key = "training.pretrain"
    return capture_settings(cfg, "field", key, f"-{key}.split", f"-{key}.limit", labels=False)


def finetune_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the fine-tuning; the field's own come with the checkpoint."""
    key = "training.finetune"
    return capture_settings(cfg, "run", key, f"-{key}.runs", f"-{key}.split")


def evaluate_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the evaluation."""
    return capture_settings(cfg, "evaluation", *(f"-evaluation.{name}" for name in ("split", "limit", "clouds")))


def pretrain_files(cfg: DictConfig) -> dict[str, Files]:
    """The captures to pretrain on."""
    captures, settings = make_capture_set(cfg.capture), cfg.training.pretrain
    return {"the captures": capture_files(captures, captures.ids(settings.split)[: settings.limit])}


def finetune_files(cfg: DictConfig) -> dict[str, Files]:
    """The captures to choose from, the split file if there is one, and the pretrained field."""
    captures, split = make_capture_set(cfg.capture), cfg.training.finetune.split
    files = {"the training captures": capture_files(captures, captures.ids("train")), **_checkpoint(cfg)}
    return files | ({} if split is None else {"training.finetune.split": Files.of([split])})


def evaluate_files(cfg: DictConfig) -> dict[str, Files]:
    """The test captures and the field."""
    captures, settings = make_capture_set(cfg.capture), cfg.evaluation
    ids = captures.ids(settings.split)[: settings.limit]
    return {"the test captures": capture_files(captures, ids), **_checkpoint(cfg)}


def _checkpoint(cfg: DictConfig) -> dict[str, Files]:
    return {"checkpoint": Files.of([field_file(cfg.checkpoint)])}


CHECK_PRETRAIN = all_of(check_config, lambda cfg: check_shares(cfg, "pretrain"), refuse_checkpoint)
CHECK_FINETUNE = all_of(check_config, require_checkpoint, lambda cfg: check_shares(cfg, "finetune"))
CHECK_EVALUATE = all_of(check_config, require_checkpoint)

run_pretrain = Stage(
    "pretraining", "pretrain.json", pretrain, pretrain_settings, pretrain_files, CHECK_PRETRAIN, (STATE,), ("model",)
)
run_finetune = Stage(
    "fine-tuning", "finetune.json", finetune, finetune_settings, finetune_files, CHECK_FINETUNE, (STATE,), ("model",)
)
run_evaluate = Stage(
    "evaluation", "metrics.json", evaluate, evaluate_settings, evaluate_files, CHECK_EVALUATE, (MEASURED,)
)


def run_pipeline(cfg: DictConfig) -> dict:
    """Pretrain, then fine-tune and evaluate each few-shot run; writes `out/table.json`."""
    check_config(cfg)
    check_shares(cfg, "finetune", *(["pretrain"] if cfg.checkpoint is None else []))
    check_source(cfg.evaluation.source, cfg.training.finetune.head)
    with guard(Path(cfg.out)):
        return _pipeline(cfg)


def _pipeline(cfg: DictConfig) -> dict:
    out, origin = Path(cfg.out), provenance(cfg)
    if cfg.capture.get("shapes"):
        write_made_up(cfg)
    stages: list[dict] = []
    if cfg.checkpoint is None:
        stages.append(run_pretrain(changed(cfg, out=out / "pretrain")))
    rows: list[dict[str, Any]] = []
    measured: list[dict] = []
    for run in range(cfg.training.finetune.runs):
        folder = out / "semantic_srn" / f"run_{run}"
        pretrained = cfg.checkpoint or out / "pretrain" / "model"
        stages.append(run_finetune(changed(cfg, out=folder, run=run, checkpoint=pretrained)))
        metrics = run_evaluate(changed(cfg, out=folder, run=run, checkpoint=folder / "model"))
        stages.append(metrics)
        measured.append(metrics)
        rows += rows_of({"mean_code": metrics["mean_code"], "semantic_srn": metrics}, metrics["category"], run)
    table = close_pipeline(cfg, origin, rows, stages, measured)
    print(f"pictures, labelled points and figures: {out}/semantic_srn/run_*")
    return table
