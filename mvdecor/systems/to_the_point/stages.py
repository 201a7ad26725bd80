"""The stages of To The Point: pretrain, finetune, evaluate, the pipeline of the three, and the ceiling."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.engine.content import Files
from mvdecor.engine.cost import total_cost
from mvdecor.engine.distributed import rank
from mvdecor.engine.guard import guard
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed, settings_of
from mvdecor.engine.stage import STATE, Stage
from mvdecor.evaluation.reconstructions import summary
from mvdecor.files import write_json
from mvdecor.systems.to_the_point.ceiling import ceiling
from mvdecor.systems.to_the_point.evaluate import MEASURED, evaluate
from mvdecor.systems.to_the_point.finetune import finetune
from mvdecor.systems.to_the_point.model import model_file
from mvdecor.systems.to_the_point.photos import photograph_files, write_made_up
from mvdecor.systems.to_the_point.pretrain import pretrain
from mvdecor.systems.to_the_point.settings import (
    check_checkpoint,
    check_config,
    check_finetune,
    check_pretrain,
    check_shares,
)

SHARED = ("seed", "precision")
PHOTOGRAPHS = ("photographs", "-photographs.root", "-photographs.generate")
"""Where photographs lie is no matter: they are compared by content."""


def pretrain_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the pretraining; how the solver goes about its work is not used by it."""
    return settings_of(cfg, [*SHARED, "reconstructor", "-reconstructor.solver", "renders", "training.pretrain"])


def finetune_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the fine-tuning; the network's come with the checkpoint."""
    key = "training.finetune"
    return settings_of(
        cfg, [*SHARED, "run", *PHOTOGRAPHS, "reconstructor.solver", "renders", key, f"-{key}.split", f"-{key}.limit"]
    )


def evaluate_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the evaluation; the solver's come with the checkpoint."""
    left_out = ["-evaluation.split", "-evaluation.limit", "-evaluation.figures", "-evaluation.batch_size"]
    return settings_of(cfg, [*SHARED, *PHOTOGRAPHS, "evaluation", *left_out])


def pretrain_files(cfg: DictConfig) -> dict[str, Files]:
    """The template, and what says its keypoints and labels."""
    beside = Path(cfg.template.file).with_suffix(".json")
    files = [cfg.template.file, cfg.template.keypoints, beside if beside.exists() else None]
    return {"the template": Files.of([file for file in files if file is not None])}


def finetune_files(cfg: DictConfig) -> dict[str, Files]:
    """The photographs and the pretrained model."""
    settings = cfg.training.finetune
    return {"the photographs": photograph_files(cfg, settings.split, settings.limit), **_checkpoint(cfg)}


def evaluate_files(cfg: DictConfig) -> dict[str, Files]:
    """The test photographs and the model."""
    settings = cfg.evaluation
    return {"the test photographs": photograph_files(cfg, settings.split, settings.limit), **_checkpoint(cfg)}


def ceiling_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the ceiling; of the network nothing but the image's size matters, and the number of deformation vectors."""
    model = ["reconstructor.size", "reconstructor.basis", "reconstructor.solver", "renders.deformations"]
    return evaluate_settings(cfg) | settings_of(cfg, model)


def ceiling_files(cfg: DictConfig) -> dict[str, Files]:
    """The test photographs and the template."""
    settings = cfg.evaluation
    return {"the test photographs": photograph_files(cfg, settings.split, settings.limit), **pretrain_files(cfg)}


def _checkpoint(cfg: DictConfig) -> dict[str, Files]:
    return {"checkpoint": Files.of([model_file(cfg.checkpoint)])}


run_pretrain = Stage(
    "pretraining", "pretrain.json", pretrain, pretrain_settings, pretrain_files, check_pretrain, (STATE,), ("model",)
)
run_finetune = Stage(
    "fine-tuning", "finetune.json", finetune, finetune_settings, finetune_files, check_finetune, (STATE,), ("model",)
)
run_evaluate = Stage(
    "evaluation", "metrics.json", evaluate, evaluate_settings, evaluate_files, check_checkpoint, (MEASURED,)
)

run_ceiling = Stage("ceiling", "ceiling.json", ceiling, ceiling_settings, ceiling_files, check_config)


def run_pipeline(cfg: DictConfig) -> dict:
    """Pretrain, fine-tune, and evaluate both; writes `out/table.json`."""
    check_config(cfg)
    check_shares(cfg, "finetune", *(["pretrain"] if cfg.checkpoint is None else []))
    with guard(Path(cfg.out)):
        return _pipeline(cfg)


def _pipeline(cfg: DictConfig) -> dict:
    out, origin = Path(cfg.out), provenance(cfg)
    write_made_up(cfg)
    stages: list[dict] = []
    if cfg.checkpoint is None:
        stages.append(run_pretrain(changed(cfg, out=out / "pretrain")))
    pretrained = cfg.checkpoint or out / "pretrain" / "model"
    tuned = out / "to_the_point" / f"run_{cfg.run}"
    stages.append(run_evaluate(changed(cfg, out=out / "pretrained", checkpoint=pretrained)))
    stages.append(run_finetune(changed(cfg, out=tuned, checkpoint=pretrained)))
    stages.append(run_evaluate(changed(cfg, out=tuned, checkpoint=tuned / "model")))
    rows = {"no image": stages[-1]["no_image"], "pretrained": stages[-3], "fine-tuned": stages[-1]}
    names = ("mask_iou", "pck", "rotation", "surface", "labels")
    table = {name: {key: row[key] for key in names if key in row} for name, row in rows.items()}
    result = {"rows": table, "cost": total_cost([stage["cost"] for stage in stages])}
    if rank() == 0:
        write_json(out / "table.json", result | origin | {"seed": cfg.seed})
    for name, row in rows.items():
        print(f"{name}: {summary(row)}")
    print(f"pictures and figures: {tuned}")
    return result
