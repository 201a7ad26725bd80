"""Exactly what the result of each stage depends on: settings, and files by their content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from mvdecor.engine.content import Files
from mvdecor.engine.record import settings_of
from mvdecor.errors import InputError
from mvdecor.networks.checkpoint import checkpoint_info, weights_file
from mvdecor.shapes import ShapeSet
from mvdecor.systems.mvdecor.check import check_labels
from mvdecor.systems.mvdecor.fewshot import split_run
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.setup import make_shape_set

VIEWS = ("views", "-views.cache", "-views.keep")
"""Where face ids are kept changes no result."""
NETWORK = ("network", "seed", "precision", "training.random_light", "training.compile", *VIEWS)
NO_FILE = Path(os.devnull, "no file")
"""A path where no file can be."""
MATCHES = ("training.matching", "training.gather", "training.pretrain.points", "training.pretrain.replace")


def pretrain_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the pretraining."""
    keys = [*NETWORK, *_loss(cfg), *MATCHES, "training.pretrain"]
    if cfg.training.pretrain.source == "crops":
        keys.append("training.crops")
    if cfg.checkpoint is not None:
        keys.append("-network.weights")  # those of the checkpoint are taken
    return stage_settings(cfg, "unlabelled", keys)


def finetune_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the fine-tuning; those of the contrastive term, consistency, substitution and self-training only if it has
    them."""
    settings = "training.finetune"
    keys = [*NETWORK, "run", "data.category", "segmentation_loss", settings]
    keys += [f"-{settings}.{name}" for name in ("runs", "split", "validate_every")]
    if cfg.checkpoint is not None:
        keys.append("-network.weights")  # those of the checkpoint are taken
    if cfg.training.finetune.split is not None:
        keys.append(f"-{settings}.replace")
    if cfg.training.finetune.lambda_ssl > 0:
        keys += [*_loss(cfg), *MATCHES, "training.pretrain.colour_jitter"]
    else:
        keys += [f"-{settings}.lambda_ssl", f"-{settings}.pairs", f"-{settings}.joint"]
    if cfg.training.finetune.lambda_consistency > 0:
        keys += [*MATCHES, "training.pretrain.colour_jitter", f"{settings}.pairs"]
    else:
        keys.append(f"-{settings}.lambda_consistency")
    if cfg.training.finetune.substitutes == 0:
        keys.append(f"-{settings}.substitutes")
    if cfg.training.self_train.rounds > 0:
        keys += ["training.self_train", "lifting", *without_smoothing(cfg.lifting)]
    label_names = make_shape_set(cfg.data.labelled).label_names
    return stage_settings(cfg, "labelled", keys) | {"label_names": list(label_names)}


def evaluate_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the evaluation."""
    keys = [*VIEWS, "seed", "precision", "data.category", "lifting", "evaluation", "-evaluation.batch_size"]
    keys += without_smoothing(cfg.lifting)
    keys += ["-evaluation.split", "-evaluation.limit"]  # they name shapes, which are compared by content
    labels = {"label_names": list(make_shape_set(held_out_data(cfg)).label_names)}
    return (
        stage_settings(cfg, "labelled", keys)
        | labels
        | {"calibration": checkpoint_info(cfg.checkpoint).get("calibration")}
    )


def ceiling_settings(cfg: DictConfig) -> dict[str, Any]:
    """Settings of the ceiling, which goes through one, two and three layers whatever the views have."""
    views = [*VIEWS, *(f"-views.{name}" for name in ("layers", "channels", "depth", "normal_frame"))]
    keys = [*views, "seed", "lifting.fill", "lifting.smooth", "lifting.crease", *without_smoothing(cfg.lifting)]
    return stage_settings(cfg, "labelled", keys) | {"label_names": list(make_shape_set(held_out_data(cfg)).label_names)}


def without_smoothing(lifting: DictConfig) -> list[str]:
    """Keys of `settings_of` that leave out the settings of a smoothing that does not take place."""
    return [] if lifting.smooth > 0 else ["-lifting.smooth", "-lifting.crease"]


def pretrain_files(cfg: DictConfig) -> dict[str, Files]:
    """The meshes to pretrain on, and initial weights from a file."""
    shape_set = make_shape_set(cfg.data.unlabelled)
    ids = shape_set.ids(cfg.data.pretrain_split)[: cfg.data.pretrain_limit]
    return {"the meshes": shape_files(shape_set, ids, labels=False)} | _start(cfg)


def finetune_files(cfg: DictConfig) -> dict[str, Files]:
    """The labelled shapes to choose from, the split file if they are named there, and where the weights start from."""
    shape_set = make_shape_set(cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    if cfg.training.finetune.split is None:
        files = {"the training shapes": shape_files(shape_set, shape_set.ids("train"))}
    else:
        files = {"the labelled shapes": shape_files(shape_set, split_run(cfg, shape_set, cfg.run).shapes)}
        files["training.finetune.split"] = Files.of([cfg.training.finetune.split])
    if cfg.training.self_train.rounds > 0 or cfg.training.finetune.lambda_consistency > 0:
        files["the shapes without labels"] = shape_files(shape_set, shape_set.ids("unlabelled"), labels=False)
    return files | _start(cfg)


def evaluate_files(cfg: DictConfig) -> dict[str, Files]:
    """The test shapes and the model."""
    return evaluated_shapes(cfg) | checkpoint_content(cfg)


def evaluated_shapes(cfg: DictConfig) -> dict[str, Files]:
    """The shapes of `evaluation.split`."""
    shape_set = make_shape_set(held_out_data(cfg))
    return {"the test shapes": shape_files(shape_set, shape_set.ids(cfg.evaluation.split)[: cfg.evaluation.limit])}


def checkpoint_content(cfg: DictConfig) -> dict[str, Files]:
    """The model of `checkpoint`."""
    return {"checkpoint": Files.of([weights_file(cfg.checkpoint)])}


def shape_files(shape_set: ShapeSet, ids: Iterable[str], labels: bool = True) -> Files:
    """The files of some shapes, in the order of the ids."""
    files: Callable[[str, bool], list[Path]] | None = getattr(shape_set, "files", None)
    if files is None:
        return Files(tuple((f"{id} {_shape_hash(shape_set, id, labels)}", NO_FILE) for id in ids))
    return Files(tuple((f"{id}/{path.name}", path) for id in ids for path in files(id, labels) or [NO_FILE]))


def _shape_hash(shape_set: ShapeSet, id: str, labels: bool) -> str:
    """Of a reader that does not say which files it reads."""
    try:
        shape = shape_set.load(id)
    except InputError as error:
        return str(error)
    if not labels or shape.face_labels is None:
        return shape.fingerprint()
    return shape.fingerprint() + hashlib.sha256(shape.face_labels.cpu().numpy().tobytes()).hexdigest()


def stage_settings(cfg: DictConfig, data_role: str, keys: Iterable[str]) -> dict[str, Any]:
    """Values of `keys`, and how the shapes are read; where they lie and which there are is compared by content."""
    reader, weights = f"data.{data_role}", _weights(cfg)
    left_out = [f"-{reader}.root", f"-{reader}.splits"]
    if str(cfg.data[data_role].get("_target_")).startswith(
        "mvdecor."
    ):  # of a reader of one's own it may say what is read
        left_out.append(f"-{reader}.labels")
    settings = settings_of(cfg, [*keys, reader, *left_out])
    if weights and "network.weights" in settings:
        settings["network.weights"] = "a file"  # which one is told by its content
    return settings


def _loss(cfg: DictConfig) -> list[str]:
    """The contrastive loss; of the negatives that it leaves out only what is left out."""
    return ["loss", *(f"-loss.{name}" for name in ("mirror", "alike") if not cfg.loss.get(name))]


def _start(cfg: DictConfig) -> dict[str, Files]:
    """What a training starts from."""
    return _weights(cfg) if cfg.checkpoint is None else checkpoint_content(cfg)


def _weights(cfg: DictConfig) -> dict[str, Files]:
    weights = cfg.network.get("weights")
    return {"network.weights": Files.of([weights])} if isinstance(weights, str) and Path(weights).is_file() else {}
