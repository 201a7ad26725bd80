"""The stages of MvDeCor: pretrain, finetune, evaluate, ceiling, and the pipeline of the first three."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf

from mvdecor.engine.cli import CONFIGS
from mvdecor.engine.cost import total_cost
from mvdecor.engine.distributed import rank
from mvdecor.engine.guard import guard
from mvdecor.engine.log import log_outcome
from mvdecor.engine.provenance import provenance
from mvdecor.engine.record import changed
from mvdecor.engine.stage import STATE, Job, Stage
from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords, ceiling_table, describe_calibration
from mvdecor.files import write_json
from mvdecor.lifting import Calibration
from mvdecor.networks import load_checkpoint, save_checkpoint
from mvdecor.percent import rounded
from mvdecor.results import evaluation_summary, format_table, occurrence, summarize
from mvdecor.shapes import load_shapes
from mvdecor.shapes.loading import list_skipped
from mvdecor.systems.made_up import write_made_up
from mvdecor.systems.mvdecor import keys, pictures
from mvdecor.systems.mvdecor.check import check_batch, check_config, check_labels_of, check_run, check_shares
from mvdecor.systems.mvdecor.evaluate import evaluate
from mvdecor.systems.mvdecor.finetune import finetune
from mvdecor.systems.mvdecor.held_out import held_out_data, trained_test_shapes, warn_of_trained
from mvdecor.systems.mvdecor.pretrain import pretrain
from mvdecor.systems.mvdecor.setup import (
    make_store,
    place,
    seed_of_test_views,
)
from mvdecor.systems.mvdecor.trained import check_sight, trained_with, with_training
from mvdecor.views import make_rasterizer


def evaluate_stage(job: Job) -> dict:
    """Label the test shapes with `cfg.checkpoint`; writes `out/labels`, `out/confidence` and `out/meshes`."""
    cfg, out = job.cfg, job.out
    fabric = job.open_device()
    model, metadata = load_checkpoint(cfg.checkpoint, fabric.device)
    shape_set = make_store(cfg, held_out_data(cfg))
    check_labels_of(metadata, cfg.checkpoint, shape_set.label_names)
    check_sight(metadata, cfg.checkpoint, cfg.views)
    job.provenance["config"] = with_training(job.provenance["config"], metadata)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    split = cfg.evaluation.split
    ids = shape_set.ids(split)[: cfg.evaluation.limit]
    depends = job.key["settings"] | {"weights": metadata["weights_sha256"]}
    records = ShapeRecords(out / "measured", depends, lambda id: keys.shape_files(shape_set, [id]).identity()["sha256"])
    calibration = Calibration.of(metadata, cfg.checkpoint)
    evaluated = evaluate(cfg, fabric, model, shape_set, ids, records, job.cost, calibration)
    list_skipped(evaluated.skipped)
    figures, ceiling = evaluated.metrics.result(), evaluated.ceiling.result()
    if figures["part_miou"] is None:
        records.remove()
        raise InputError(
            f"none of the {len(ids)} shapes of split {split!r} can be read and has a face of a known part "
            f"({len(evaluated.skipped)} were skipped): correct them, or choose another data.level or category"
        )
    for id, shape in figures["shapes"].items():
        shape["coverage"] = evaluated.coverage[id]
        shape["undetermined"] = evaluated.undetermined[id]
        shape |= {k: v for k, v in evaluated.reliability.of_shape(id).items() if k != "accuracy"}
        shape["familiarity"] = evaluated.familiarity[id]
        shape["metrics"] = evaluated.more[id]
    if figures["undetermined_shapes"]:
        names = ", ".join(figures["undetermined_shapes"])
        print(f"note: shapes without a face of a known part are not counted: {names}")
    result = {
        **figures,
        "category": cfg.data.category,
        "coverage": float(np.mean(list(evaluated.coverage.values()))),
        "undetermined": {k: float(np.mean([s[k] for s in evaluated.undetermined.values()])) for k in ("faces", "area")},
        "metrics": evaluated.means(),
        "calibration": evaluated.calibration() | {"temperature": calibration.temperature},
        "ceiling": {k: ceiling[k] for k in ("part_miou", "shape_miou", "accuracy", "parts")},
        "split": {"name": split, "ids": list(evaluated.coverage)},
        "skipped": evaluated.skipped,
        "trained_on": metadata.get("shapes"),
        "trained_with": trained_with(metadata),
        "pretrained": "pretrain" in metadata.get("trained_on", {}),
        "weights_sha256": metadata["weights_sha256"],
        "trained_test_shapes": trained_test_shapes(metadata, evaluated.contents),
    }
    print(f"{evaluation_summary(result)}: {out}/metrics.json", flush=True)
    print(describe_calibration(result["calibration"]), flush=True)
    warn_of_trained(result["trained_test_shapes"], len(evaluated.contents))
    outcome = {k: result[k] for k in ("part_miou", "shape_miou", "accuracy", "coverage")}
    outcome |= {"ceiling": result["ceiling"]["part_miou"], "ece": result["calibration"]["ece"]}
    log_outcome(
        out / "log", OmegaConf.create(job.provenance["config"]), {f"evaluation/{k}": v for k, v in outcome.items()}
    )
    return result


def ceiling_stage(job: Job) -> dict:
    """Print what a perfect network would reach on the shapes of `evaluation.split` through the evaluation's cameras.

    Exact areas, one row for each of one, two and three layers.
    """
    cfg = job.cfg
    shape_set = make_store(cfg, held_out_data(cfg))
    shapes, skipped = load_shapes(
        shape_set, shape_set.ids(cfg.evaluation.split)[: cfg.evaluation.limit], cfg.data.on_error
    )
    rows = ceiling_table(
        shapes,
        lambda shape: place(cfg, shape, seed_of_test_views(cfg, shape.id)),
        make_rasterizer(cfg.views.rasterizer, job.open_device().device),
        fill=cfg.lifting.fill,
        smooth=cfg.lifting.smooth,
        crease=cfg.lifting.crease,
        seed=cfg.seed,
    )
    print(format_table(rows))
    list_skipped(skipped)
    return {"rows": rows, "skipped": skipped}


def _check_pretrain(cfg: DictConfig) -> None:
    check_config(cfg)
    check_shares(cfg, "pretrain")


def _check_finetune(cfg: DictConfig) -> None:
    check_config(cfg)
    check_batch(cfg)
    check_shares(cfg, "finetune")


def _check_evaluate(cfg: DictConfig) -> None:
    check_config(cfg)
    if cfg.checkpoint is None:
        raise InputError(
            "evaluation needs a fine-tuned model: give checkpoint=FOLDER (out/model of scripts/finetune.py)"
        )


run_pretrain = Stage(
    "pretraining",
    "pretrain.json",
    pretrain,
    settings=keys.pretrain_settings,
    reads=keys.pretrain_files,
    check=_check_pretrain,
    temporary=(STATE,),
    writes=("model",),
)
run_finetune = Stage(
    "fine-tuning",
    "finetune.json",
    finetune,
    settings=keys.finetune_settings,
    reads=keys.finetune_files,
    check=_check_finetune,
    temporary=(STATE,),
    writes=("model",),
)
run_evaluate = Stage(
    "evaluation",
    "metrics.json",
    evaluate_stage,
    settings=keys.evaluate_settings,
    reads=keys.evaluate_files,
    check=_check_evaluate,
    temporary=("measured",),
    writes=("labels",),
)
run_ceiling = Stage(
    "ceiling",
    "ceiling.json",
    ceiling_stage,
    settings=keys.ceiling_settings,
    reads=keys.evaluated_shapes,
    check=check_config,
)


def of_method(cfg: DictConfig, name: str) -> DictConfig:
    """A configuration with the values of configs/method/NAME.yaml, as `method=NAME` gives them."""
    method = OmegaConf.load(Path(CONFIGS, "method", f"{name}.yaml"))
    assert isinstance(method, DictConfig)
    method.pop("defaults", None)
    for group in set(method) - {"method"}:  # such as network.weights of a network that takes none
        for key in set(method[group]) - set(cfg[group]):
            method[group].pop(key)
    return OmegaConf.merge(cfg, method)  # type: ignore[return-value]


def run_pipeline(cfg: DictConfig) -> dict:
    """Pretrain, then fine-tune and evaluate from scratch and pretrained for each run; writes `out/table.json`.

    Scratch is the method of that name, configs/method/scratch.yaml.
    """
    check_config(cfg)
    check_batch(of_method(cfg, "scratch"))
    check_shares(cfg, "finetune", *(["pretrain"] if cfg.checkpoint is None else []))
    with guard(Path(cfg.out)):
        return _pipeline(cfg)


def _pipeline(cfg: DictConfig) -> dict:
    out, origin = Path(cfg.out), provenance(cfg)
    write_made_up(cfg)
    check_run(cfg, out / "pretrain")
    stages: list[dict] = []
    if cfg.checkpoint is None:
        _stage("pretraining", out / "pretrain")
        stages.append(run_pretrain(changed(cfg, out=out / "pretrain")))
    pretrained = cfg.checkpoint or out / "pretrain" / "model"
    rows: list[dict[str, Any]] = []
    for run in range(cfg.training.finetune.runs):
        for method, checkpoint in (("scratch", None), ("pretrained", pretrained)):
            folder = out / method / f"run_{run}"
            _stage(f"{method}, run {run}", folder)
            run_cfg = changed(cfg if checkpoint else of_method(cfg, "scratch"), out=folder, run=run)
            tuned = run_finetune(changed(run_cfg, checkpoint=checkpoint))
            metrics = run_evaluate(changed(run_cfg, checkpoint=folder / "model"))
            stages += [tuned, metrics]
            if checkpoint and run == 0:  # of the model that becomes out/model
                measured = {key: metrics[key] for key in ("part_miou", "shape_miou", "coverage")}
                measured |= {"ceiling": metrics["ceiling"]["part_miou"], "test_shapes": len(metrics["split"]["ids"])}
            rows.append(
                {"method": method, "category": cfg.data.category, "run": run, "part_miou": metrics["part_miou"]}
            )
    table = summarize(rows) | {
        "runs": rows,
        "ceiling": metrics["ceiling"]["part_miou"],
        "occurrence": occurrence(metrics),
        "skipped": sorted({id: reason for stage in stages for id, reason in stage["skipped"]}.items()),
        "cost": total_cost([stage["cost"] for stage in stages]),
        "revisions": sorted({stage["revision"] for stage in stages}),
    }
    if rank() == 0:
        _export(cfg, measured)
        write_json(out / "table.json", table | origin | {"seed": cfg.seed})
    print("\n" + format_table(table["rows"]))
    print(f"{table['occurrence']}\n\nceiling of these views, over the parts that occur: {rounded(table['ceiling'])}")
    print(f"pictures: {out / 'figures'}\nlabelled meshes: {out}/*/run_*/meshes")
    print(f"fine-tuned model: {out / 'model'}\ncurves: tensorboard --logdir {out}")
    list_skipped(table["skipped"], again=True)
    return table


def _export(cfg: DictConfig, measured: dict) -> None:
    """`out/model`, the pretrained method's model of run 0 with its figures, and `out/figures`."""
    out = Path(cfg.out)
    model, metadata = load_checkpoint(out / "pretrained" / "run_0" / "model")
    derived = ("format", "network", "channels", "num_labels", "weights_sha256")
    save_checkpoint(
        out / "model", model, {k: v for k, v in metadata.items() if k not in derived} | {"metrics": measured}
    )
    pictures.pipeline_figures(cfg, out)


def _stage(name: str, folder: Path) -> None:
    print(f"== {name} -> {folder}", flush=True)
