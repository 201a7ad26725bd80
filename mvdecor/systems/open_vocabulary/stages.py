"""The stages of the open-vocabulary system: pretrain (a field), finetune (distil for words), evaluate, and all three."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.captures import make_capture_set
from mvdecor.engine.cli import compose_config
from mvdecor.engine.content import Files
from mvdecor.engine.cost import total_cost
from mvdecor.engine.distributed import rank
from mvdecor.engine.guard import guard
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed, settings_of
from mvdecor.engine.stage import STATE, Job, Stage
from mvdecor.fields.feature_views import FILE as FEATURES
from mvdecor.fields.radiance_file import FILE as RADIANCE
from mvdecor.files import write_json
from mvdecor.systems.capture_files import capture_files
from mvdecor.systems.made_up import write_made_up
from mvdecor.systems.open_vocabulary.evaluate import evaluate, summary
from mvdecor.systems.open_vocabulary.finetune import finetune
from mvdecor.systems.open_vocabulary.settings import (
    OpenVocabularySettings,
    check_checkpoint,
    check_config,
    check_pretrain,
)
from mvdecor.systems.scene_fit import chosen_capture, fit_scene
from mvdecor.systems.text_image.train import run_text_image
from mvdecor.weights import WEIGHTS

CAPTURE = (
    "seed",
    "precision",
    "id",
    "capture",
    *(f"-capture.{key}" for key in ("root", "splits", "memory", "shapes.root")),
)
"""Where a capture lies is no matter: it is compared by content."""
WORDS = ("text_image", "crops", "-crops.batch", "training.finetune.strongest")


def pretrain(job: Job) -> dict[str, Any]:
    """Fit the field of the scene, see `fit_scene`."""
    settings, captures = OpenVocabularySettings.of(job.cfg), make_capture_set(job.cfg.capture)
    capture = captures.load(chosen_capture(captures, settings.id))
    return fit_scene(job, capture, settings.radiance, settings.training.pretrain)


def pretrain_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the field."""
    return settings_of(cfg, [*CAPTURE, "radiance", "training.pretrain"])


def finetune_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the distillation; the field's come with the checkpoint."""
    return settings_of(cfg, [*CAPTURE, *WORDS, "words", "dense_image", "training.finetune"])


def evaluate_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the evaluation; those of field and features come with the checkpoint."""
    return settings_of(cfg, [*CAPTURE, *WORDS, "evaluation"])


def pretrain_files(cfg: DictConfig) -> dict[str, Files]:
    """The files of the capture."""
    captures = make_capture_set(cfg.capture)
    return {"the capture": capture_files(captures, [chosen_capture(captures, cfg.id)])}


def finetune_files(cfg: DictConfig) -> dict[str, Files]:
    """The files of the capture, and the field."""
    return {**pretrain_files(cfg), "checkpoint": Files.of([Path(cfg.checkpoint, RADIANCE)])}


def evaluate_files(cfg: DictConfig) -> dict[str, Files]:
    """The files of the capture, the field and the features."""
    return {**finetune_files(cfg), "features": Files.of([Path(cfg.checkpoint, FEATURES)])}


run_pretrain = Stage(
    "pretraining", "pretrain.json", pretrain, pretrain_settings, pretrain_files, check_pretrain, (STATE,), ("model",)
)
run_finetune = Stage(
    "fine-tuning", "finetune.json", finetune, finetune_settings, finetune_files, check_checkpoint, (STATE,), ("model",)
)
run_evaluate = Stage("evaluation", "metrics.json", evaluate, evaluate_settings, evaluate_files, check_checkpoint)


def run_pipeline(cfg: DictConfig) -> dict[str, Any]:
    """Fit the field, distil for the words, and measure; writes `out/table.json`."""
    check_config(cfg)
    with guard(Path(cfg.out)):
        return _pipeline(cfg)


def train_text_image(cfg: DictConfig) -> dict[str, Any] | None:
    """Train the small text-image model of `cfg.text_image.folder` if it is not there and `text_image_training` is given."""
    if cfg.get("text_image_training") is None or Path(cfg.text_image.folder, WEIGHTS).is_file():
        return None
    own = {"out": str(Path(cfg.text_image.folder).parent), "sentences": cfg.text_image.sentences}
    shared = {key: cfg[key] for key in ("seed", "device", "progress", "workers", "save_every")}
    return run_text_image(changed(compose_config([], "text_image"), **cfg.text_image_training, **own, **shared))


def _pipeline(cfg: DictConfig) -> dict[str, Any]:
    out, origin = Path(cfg.out), provenance(cfg)
    write_made_up(cfg)
    stages = [] if (trained := train_text_image(cfg)) is None else [trained]
    if cfg.checkpoint is None:
        stages.append(run_pretrain(changed(cfg, out=out / "pretrain")))
    field = cfg.checkpoint or out / "pretrain" / "model"
    tuned = out / "open_vocabulary" / f"run_{cfg.run}"
    stages.append(run_finetune(changed(cfg, out=tuned, checkpoint=field)))
    stages.append(run_evaluate(changed(cfg, out=tuned, checkpoint=tuned / "model")))
    rows = stages[-1]["rows"]
    result = {"rows": rows, "cost": total_cost([stage["cost"] for stage in stages])}
    if rank() == 0:
        write_json(out / "table.json", result | origin | {"seed": cfg.seed})
    print("\n" + "\n".join(f"{name:>20}: {summary(row)}" for name, row in rows.items()))
    print(f"pictures, masks and labelled points: {tuned}")
    return result
