"""The stages of a run: pretrain, finetune, evaluate, and all of them in a row. Here the rooms meet.

Each stage reads the configuration (configs/config.yaml), writes into `cfg.out` and closes with a JSON file of what it did.
A stage whose JSON file is there and was made with the same settings is not run again; with other settings it is refused, so
that results are never overwritten or mixed.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from mvdecor.errors import InputError
from mvdecor.evaluation import ShapeRecords, ceiling_table, describe_calibration, format_table, summarize
from mvdecor.lifting import Calibration
from mvdecor.networks import Model, build_model, load_checkpoint, load_pretrained, save_checkpoint
from mvdecor.shapes import load_shapes
from mvdecor.training import pictures
from mvdecor.training.calibrate import calibrate
from mvdecor.training.check import check_channels, check_labels, check_labels_of, check_run
from mvdecor.training.distributed import barrier, rank
from mvdecor.training.evaluate import evaluate
from mvdecor.training.fewshot import few_shot_shapes, split_file
from mvdecor.training.finetune import finetune
from mvdecor.training.guard import guarded
from mvdecor.training.log import Log, log_outcome
from mvdecor.training.pretrain import pretrain
from mvdecor.training.results import Cost, changed, finished, settings_of, total_cost, write_result
from mvdecor.training.resume import Snapshots
from mvdecor.training.setup import (
    drawing_device,
    make_crop_source,
    make_fabric,
    make_labelled_source,
    make_pair_source,
    make_scenes,
    make_shape_set,
    place,
    pretraining_shapes,
    provenance,
)
from mvdecor.views import make_rasterizer

PRETRAIN_SETTINGS = (
    *("data.unlabelled", "data.pretrain_split", "data.pretrain_limit", "views", "network", "loss", "seed", "precision"),
    *(
        "training.matching",
        "training.pretrain",
        "training.crops",
        "training.random_light",
        "training.gather",
        "training.compile",
    ),
)
FINETUNE_SETTINGS = ("data.labelled", "views", "network", "loss", "seed", "run", "precision", "training", "checkpoint")
EVALUATE_SETTINGS = ("data.labelled", "views", "seed", "precision", "lifting", "evaluation", "checkpoint")

SCRATCH = {"name": "scratch", "title": "2D Scratch", "pretrain": False}
"""The method of a pipeline's runs without pretraining, as configs/method/scratch.yaml names it."""


@guarded
def run_pretrain(cfg: DictConfig) -> dict:
    """Pretrain on unlabelled shapes; writes `out/model` (best validation loss), `out/log` and `out/pretrain.json`."""
    out = Path(cfg.out)
    if (done := finished(out / "pretrain.json", cfg, PRETRAIN_SETTINGS)) is not None:
        shutil.rmtree(out / "state", ignore_errors=True)  # if it was killed after its last word
        return done
    start = Cost()
    snapshots = Snapshots(out / "state", cfg.save_every, settings_of(cfg, PRETRAIN_SETTINGS), {"cost": start})
    fabric = make_fabric(cfg)
    device = drawing_device(cfg, fabric)
    shapes, skipped = pretraining_shapes(cfg)
    held_out = max(1, round(len(shapes) * cfg.training.pretrain.validation_share))
    if len(shapes) - held_out < 1:
        raise InputError(
            f"pretraining needs at least 2 shapes (one to validate on), the split has {len(shapes)}: see data.pretrain_split"
        )
    print(f"seed {cfg.seed}: pretraining on {len(shapes) - held_out} shapes, validating on {held_out}", flush=True)
    settings = cfg.training.pretrain
    make_source = make_crop_source if settings.source == "crops" else make_pair_source
    train = make_source(cfg, make_scenes(cfg, shapes[:-held_out], cfg.seed, device), settings.pairs, augment="pretrain")
    validation = make_source(cfg, make_scenes(cfg, shapes[-held_out:], cfg.seed + len(shapes), device), settings.pairs)
    model = prepared(build_model(cfg.network, cfg.views.channels, None), cfg)
    log = Log(out / "log", cfg.training.log_every, cfg.progress, snapshots.step)
    if snapshots.step == 0 and rank() == 0:
        log.picture("pretrain/channels", pictures.channels_sheet(train))
        log.picture("pretrain/matches", pictures.matches_sheet(train))

    def save_best(model: Model, metrics: dict[str, float]) -> Path:
        info = {"kind": "pretrained", "label_names": [], "metrics": metrics, **provenance(cfg)}
        if rank() == 0:
            save_checkpoint(out / "model", model, info)
        return out / "model"

    history = pretrain(
        fabric,
        model,
        train,
        validation,
        instantiate(cfg.loss),
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        schedule=settings.schedule,
        validate_every=settings.validate_every,
        validation_batches=settings.validation_batches,
        seed=cfg.seed,
        workers=cfg.workers,
        gather=cfg.training.gather,
        log=log,
        save_best=save_best,
        snapshots=snapshots,
    )
    log.close()
    _list_skipped(skipped)
    best = min(history.steps, key=lambda figures: figures["loss"])
    print(
        f"best validation loss {best['loss']:.3f}, retrieval accuracy {best['retrieval_accuracy']:.3f} "
        f"(chance {1 / settings.points:.4f}): {out}/model",
        flush=True,
    )
    result = {
        "shapes": [s.id for s in shapes],
        "validation_shapes": [s.id for s in shapes[-held_out:]],
        "skipped": skipped,
        "unmatched": history.unmatched,
        "history": history.steps,
        "cost": start.spent(),
    }
    return _close(out / "pretrain.json", result, cfg, snapshots)


@guarded
def run_finetune(cfg: DictConfig) -> dict:
    """Fine-tune on k labelled shapes, from `cfg.checkpoint` or from scratch; writes `out/model`, `out/finetune.json`."""
    out = Path(cfg.out)
    if (done := finished(out / "finetune.json", cfg, FINETUNE_SETTINGS)) is not None:
        if done.get("split") != split_file(cfg):
            raise InputError(f"{cfg.training.finetune.split} changed since {out}/finetune.json: choose another out=")
        shutil.rmtree(out / "state", ignore_errors=True)
        return done
    start, file = Cost(), split_file(cfg)
    settings_now = settings_of(cfg, FINETUNE_SETTINGS) | {"training.finetune.split": file}
    snapshots = Snapshots(out / "state", cfg.save_every, settings_now, {"cost": start})
    fabric = make_fabric(changed(cfg, seed=cfg.seed + cfg.run), unused_weights=not cfg.training.finetune.joint)
    shape_set = make_shape_set(cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    model = build_model(cfg.network, cfg.views.channels, len(shape_set.label_names), cfg.checkpoint is None)
    if cfg.checkpoint is not None:
        load_pretrained(model, cfg.checkpoint)
    model = prepared(model, cfg)
    shapes, chosen, skipped = few_shot_shapes(cfg, shape_set)
    print(f"seed {cfg.seed}, run {cfg.run}: labelled {', '.join(chosen.shapes)}", flush=True)
    settings = cfg.training.finetune
    labelled = make_labelled_source(cfg, shapes, chosen, drawing_device(cfg, fabric))
    scenes = labelled.scenes
    pairs = make_pair_source(cfg, scenes, settings.pairs, augment="pretrain") if settings.lambda_ssl > 0 else None
    log = Log(out / "log", cfg.training.log_every, cfg.progress, snapshots.step)
    history = finetune(
        fabric,
        model,
        labelled,
        pairs,
        instantiate(cfg.loss),
        steps=settings.steps,
        learning_rate=settings.learning_rate,
        decay=settings.decay,
        decay_every=settings.decay_every,
        lambda_ssl=settings.lambda_ssl,
        joint=settings.joint,
        batch_norm="eval" if settings.batch_norm == "eval_pretrained" and cfg.checkpoint is not None else "train",
        seed=cfg.seed + cfg.run,
        workers=cfg.workers,
        gather=cfg.training.gather,
        log=log,
        snapshots=snapshots,
    )
    log.close()
    calibration = calibrate(cfg, fabric, model, labelled).record()
    result = {
        "shapes": chosen.shapes,
        "views": dict(zip((s.id for s in scenes.shapes), labelled.views, strict=True)),
        "labels_not_covered": chosen.labels_not_covered,
        "split": file,
        "skipped": skipped,
        "history": history.steps,
        "calibration": calibration,
        "cost": start.spent(),
    }
    textured = {s.texture is not None for s in shapes}  # where it is not, the channel rgb is shading
    info = {
        "kind": "finetuned",
        "label_names": list(shape_set.label_names),
        "category": cfg.data.category,
        "shapes": result["shapes"],
        "textured": textured.pop() if len(textured) == 1 else None,
        "calibration": calibration,
        **provenance(cfg),
    }
    if rank() == 0:
        save_checkpoint(out / "model", model, info)
    _list_skipped(skipped)
    print(f"training loss {history.steps[-1]['loss']:.3f} after {settings.steps} steps: {out}/model", flush=True)
    return _close(out / "finetune.json", result, cfg, snapshots)


@guarded
def run_evaluate(cfg: DictConfig) -> dict:
    """Label the test shapes with `cfg.checkpoint`; writes `out/metrics.json`, `out/labels` and `out/meshes`."""
    out = Path(cfg.out)
    if cfg.checkpoint is None:
        raise InputError(
            "evaluation needs a fine-tuned model: give checkpoint=FOLDER (out/model of scripts/finetune.py)"
        )
    if (done := finished(out / "metrics.json", cfg, EVALUATE_SETTINGS)) is not None:
        shutil.rmtree(out / "measured", ignore_errors=True)
        return done
    start = Cost()
    fabric = make_fabric(cfg)
    model, info = load_checkpoint(cfg.checkpoint, fabric.device)
    shape_set = make_shape_set(cfg.data.labelled)
    check_labels_of(info, cfg.checkpoint, shape_set.label_names)
    check_channels(model, cfg)
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    split = cfg.evaluation.split
    ids = shape_set.ids(split)[: cfg.evaluation.limit]
    records = ShapeRecords(out / "measured", settings_of(cfg, EVALUATE_SETTINGS) | {"weights": info["weights_sha256"]})
    calibration = Calibration.of(info, cfg.checkpoint)
    found = evaluate(cfg, fabric, model, shape_set, ids, records, start, calibration)
    _list_skipped(found.skipped)
    figures, ceiling = found.metrics.result(), found.ceiling.result()
    if figures["part_miou"] is None:
        records.remove()
        raise InputError(
            f"none of the {len(ids)} shapes of split {split!r} can be read and has a face of a known part "
            f"({len(found.skipped)} were skipped): correct them, or choose another data.level or category"
        )
    for id, shape in figures["shapes"].items():
        shape["coverage"] = found.coverage[id]
        shape |= {k: v for k, v in found.reliability.of_shape(id).items() if k != "accuracy"}
        shape["familiarity"] = found.familiarity[id]
    if figures["undetermined_shapes"]:
        names = ", ".join(figures["undetermined_shapes"])
        print(f"note: shapes without a face of a known part count nowhere: {names}")
    result = {
        **figures,
        "category": cfg.data.category,
        "coverage": float(np.mean(list(found.coverage.values()))),
        "calibration": found.calibration() | {"temperature": calibration.temperature},
        "ceiling": {k: ceiling[k] for k in ("part_miou", "shape_miou", "accuracy", "parts")},
        "split": {"name": split, "ids": list(found.coverage)},
        "skipped": found.skipped,
        "trained_on": info.get("shapes"),
        "cost": start.spent(),
    }
    print(
        f"part mIoU {result['part_miou']:.1f} (ceiling {result['ceiling']['part_miou']:.1f}), shape mIoU "
        f"{result['shape_miou']:.1f}, {result['coverage']:.0f} % of the area seen, {len(found.coverage)} shapes: "
        f"{out}/metrics.json",
        flush=True,
    )
    print(describe_calibration(result["calibration"]), flush=True)
    outcome = {k: result[k] for k in ("part_miou", "shape_miou", "accuracy", "coverage")}
    outcome |= {"ceiling": result["ceiling"]["part_miou"], "ece": result["calibration"]["ece"]}
    log_outcome(out / "log", cfg, {f"evaluation/{k}": v for k, v in outcome.items()})
    result = write_result(out / "metrics.json", result, cfg)
    fabric.barrier()  # it is written
    records.remove()
    return result


@guarded
def run_ceiling(cfg: DictConfig) -> list[dict]:
    """Print what a perfect network would reach on the shapes of `evaluation.split` with these views in 1, 2 and 3 layers.

    Exact areas, one row a number of layers; writes `out/ceiling.json`.
    """
    shape_set = make_shape_set(cfg.data.labelled)
    shapes, skipped = load_shapes(
        shape_set, shape_set.ids(cfg.evaluation.split)[: cfg.evaluation.limit], cfg.data.on_error
    )
    start = Cost()
    rows = ceiling_table(
        shapes,
        lambda shape: place(cfg, shape, cfg.seed),
        make_rasterizer(cfg.views.rasterizer, make_fabric(cfg).device),
        fill=cfg.lifting.fill,
        protocol=cfg.evaluation.protocol,
        seed=cfg.seed,
    )
    print(format_table(rows))
    _list_skipped(skipped)
    write_result(Path(cfg.out) / "ceiling.json", {"rows": rows, "skipped": skipped, "cost": start.spent()}, cfg)
    return rows


@guarded
def run_pipeline(cfg: DictConfig) -> dict:
    """Pretrain, then fine-tune and evaluate from scratch and pretrained for each run; writes `out/table.json`."""
    out = Path(cfg.out)
    if cfg.data.get("generate"):
        from mvdecor.shapes.generate import write_partnet

        make_fabric(cfg)
        if rank() == 0:
            write_partnet(cfg.data.root, **cfg.data.generate)
        barrier()
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
            own = changed(cfg, out=folder, run=run) if checkpoint else changed(cfg, out=folder, run=run, method=SCRATCH)
            tuned = run_finetune(changed(own, checkpoint=checkpoint))
            metrics = run_evaluate(changed(own, checkpoint=folder / "model"))
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
        "skipped": sorted({id: reason for stage in stages for id, reason in stage["skipped"]}.items()),
        "cost": total_cost([stage["cost"] for stage in stages]),
    }
    if rank() == 0:
        _export(cfg, measured)
    write_result(out / "table.json", table, cfg)
    print("\n" + format_table(table["rows"]))
    print(
        f"\nceiling of these views: {table['ceiling']:.1f}\npictures: {out / 'figures'}\nlabelled meshes: {out}/*/run_*/meshes"
    )
    print(f"fine-tuned model: {out / 'model'}\ncurves: tensorboard --logdir {out}")
    _list_skipped(table["skipped"])
    return table


def _export(cfg: DictConfig, measured: dict) -> None:
    """`out/model`, the pretrained method's model of run 0 with its figures, and `out/figures`."""
    out = Path(cfg.out)
    model, info = load_checkpoint(out / "pretrained" / "run_0" / "model")
    derived = ("format", "network", "channels", "num_labels", "weights_sha256")
    save_checkpoint(out / "model", model, {k: v for k, v in info.items() if k not in derived} | {"metrics": measured})
    pictures.pipeline_figures(cfg, out)


def prepared(model: Model, cfg: DictConfig) -> Model:
    """A model as it is trained fastest; names and values of its weights stay."""
    if cfg.training.compile:
        model.network.compile()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _close(file: Path, result: dict, cfg: DictConfig, snapshots: Snapshots) -> dict:
    """Write what a stage did; from now on its state under way is not needed."""
    result = write_result(file, result, cfg)
    snapshots.remove()
    return result


def _stage(name: str, folder: Path) -> None:
    print(f"== {name} -> {folder}", flush=True)


def _list_skipped(skipped: list[tuple[str, str]]) -> None:
    if skipped:
        print(f"skipped {len(skipped)} shapes that could not be read:")
        for id, reason in skipped:
            print(f"  {id}: {reason}")
