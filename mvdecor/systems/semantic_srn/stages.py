"""The stages of Semantic SRN: pretrain, finetune, evaluate, and the pipeline of the three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.captures import make_capture_set
from mvdecor.engine.content import Files
from mvdecor.engine.cost import total_cost
from mvdecor.engine.distributed import rank
from mvdecor.engine.guard import guard
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed, settings_of
from mvdecor.engine.stage import STATE, Stage
from mvdecor.fields import field_file
from mvdecor.files import write_json
from mvdecor.results import format_table, summarize
from mvdecor.systems.capture_files import capture_files
from mvdecor.systems.made_up import write_made_up
from mvdecor.systems.semantic_srn.evaluate import evaluate
from mvdecor.systems.semantic_srn.finetune import finetune
from mvdecor.systems.semantic_srn.measured import MEASURED, summary
from mvdecor.systems.semantic_srn.pretrain import pretrain
from mvdecor.systems.semantic_srn.settings import (
    check_checkpoint,
    check_config,
    check_finetune,
    check_pretrain,
    check_shares,
    check_source,
)

CAPTURES = ("seed", "precision", "capture", *(f"-capture.{key}" for key in ("root", "splits", "memory")))
"""Where captures lie is no matter: they are compared by content. So it is with the shapes that they are rendered from."""
SHAPES = tuple(f"-capture.shapes.{key}" for key in ("root", "splits", "labels"))


def pretrain_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the pretraining."""
    keys = ["field", "training.pretrain", "-training.pretrain.split", "-training.pretrain.limit"]
    return settings_of(cfg, [*CAPTURES, *SHAPES, *keys])


def finetune_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the fine-tuning; the field's own come with the checkpoint."""
    key = "training.finetune"
    return settings_of(cfg, [*CAPTURES, *SHAPES, "run", key, f"-{key}.runs", f"-{key}.split"]) | label_names_of(cfg)


def evaluate_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the evaluation."""
    key = "evaluation"
    left_out = [f"-{key}.{name}" for name in ("split", "limit", "clouds")]
    return settings_of(cfg, [*CAPTURES, *SHAPES, key, *left_out]) | label_names_of(cfg)


def label_names_of(cfg: DictConfig) -> dict[str, Any]:
    """The captures' label names, as a setting."""
    return {"label_names": list(make_capture_set(cfg.capture).label_names)}


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


run_pretrain = Stage(
    "pretraining", "pretrain.json", pretrain, pretrain_settings, pretrain_files, check_pretrain, (STATE,), ("model",)
)
run_finetune = Stage(
    "fine-tuning", "finetune.json", finetune, finetune_settings, finetune_files, check_finetune, (STATE,), ("model",)
)
run_evaluate = Stage(
    "evaluation", "metrics.json", evaluate, evaluate_settings, evaluate_files, check_checkpoint, (MEASURED,)
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


def rows_of(results: Mapping[str, Mapping[str, Any] | None], category: str, run: int) -> list[dict[str, Any]]:
    """Rows of a table, by method, of the results of a run that have a part mIoU."""
    return [
        {"method": method, "category": category, "run": run, "part_miou": result["part_miou"]}
        for method, result in results.items()
        if result is not None and result["part_miou"] is not None
    ]


def close_pipeline(
    cfg: DictConfig,
    origin: Mapping[str, Any],
    rows: list[dict[str, Any]],
    stages: Sequence[Mapping[str, Any]],
    measured: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Write `out/table.json` and print the table: the rows, the cost of the stages, and a line per run that was measured."""
    table = {"runs": rows, "cost": total_cost([stage["cost"] for stage in stages])} | (summarize(rows) if rows else {})
    if rank() == 0:
        write_json(Path(cfg.out) / "table.json", table | dict(origin) | {"seed": cfg.seed})
    if rows:
        print("\n" + format_table(table["rows"]))
    for run, metrics in enumerate(measured):
        print(f"run {run}: {summary(metrics)}")
    return table
