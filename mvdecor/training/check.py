"""Checks of a configuration before any work starts, so that a wrong value does not end a run hours later."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import PROTOCOLS
from mvdecor.lifting.fill import FILL_RULES
from mvdecor.lifting.vote import LAYER_ORDERS, VOTE_RULES
from mvdecor.networks import build_model, load_pretrained
from mvdecor.shapes import Shape, load_shapes
from mvdecor.shapes.annotations import SPLITS
from mvdecor.training.setup import make_fabric, make_shape_set

CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "data.on_error": ("raise", "skip"),
    "data.pretrain_split": SPLITS,
    "views.rasterizer": ("auto", "embree", "pytorch3d"),
    "views.depth": ("minmax", "metric"),
    "views.normal_frame": ("camera", "world"),
    "training.pretrain.schedule": ("plateau", "cosine", "constant"),
    "lifting.rule": VOTE_RULES,
    "lifting.layer_order": LAYER_ORDERS,
    "lifting.fill": FILL_RULES,
    "evaluation.protocol": PROTOCOLS,
    "evaluation.split": ("train", "val", "test"),
}
"""Settings that take one of a few words."""

COUNTS: dict[str, int] = {
    "seed": 0,
    "run": 0,
    "views.count": 1,
    "views.close_ups": 0,
    "views.size": 1,
    "views.layers": 1,
    "training.log_every": 1,
    "training.matching.tries": 1,
    "training.pretrain.steps": 1,
    "training.pretrain.pairs": 1,
    "training.pretrain.points": 1,
    "training.pretrain.validate_every": 1,
    "training.pretrain.validation_batches": 1,
    "training.finetune.k": 1,
    "training.finetune.runs": 1,
    "training.finetune.steps": 1,
    "training.finetune.batch_size": 1,
    "training.finetune.decay_every": 1,
    "training.finetune.pairs": 1,
    "evaluation.points": 0,
    "evaluation.batch_size": 1,
}
"""Settings that are whole numbers, with the least allowed."""

COUNTS_OR_NULL: dict[str, int] = {
    "data.pretrain_limit": 1,
    "training.finetune.v": 1,
    "evaluation.limit": 1,
    "evaluation.meshes": 0,
}
"""The same, where null means all."""

RATES = ("training.pretrain.learning_rate", "training.finetune.learning_rate")
NOT_NEGATIVE = ("views.jitter", "training.colour_jitter", "training.finetune.lambda_ssl", "lifting.power")


def check_config(cfg: DictConfig) -> None:
    """Refuse values that would only be noticed later; reads no data and takes well under a second.

    Raises:
        InputError: an unknown word, a number out of range, a network or loss that cannot be made, or an `out` that
            cannot be written.
    """
    for key, words in CHOICES.items():
        if (value := OmegaConf.select(cfg, key)) not in words:
            raise InputError(f"{key}={value} is unknown: choose {', '.join(words[:-1])} or {words[-1]}")
    for key, least in {**COUNTS, **COUNTS_OR_NULL}.items():
        value = OmegaConf.select(cfg, key)
        if value is None and key in COUNTS_OR_NULL:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{key}={value}: give a whole number of at least {least}")
    for key in (*RATES, *NOT_NEGATIVE):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int | float) or not (value > 0 if key in RATES else value >= 0):
            raise InputError(f"{key}={value}: give a number {'above 0' if key in RATES else 'of at least 0'}")
    if not 0 < cfg.training.pretrain.validation_share < 1:
        raise InputError(f"training.pretrain.validation_share={cfg.training.pretrain.validation_share}: give a share between 0 and 1")
    if (v := cfg.training.finetune.v) is not None and v > cfg.views.count:
        raise InputError(f"training.finetune.v={v} labelled views, but views.count={cfg.views.count}: lower v or raise views.count")
    _check_parts(cfg)
    _check_out(Path(cfg.out))


def check_run(cfg: DictConfig, folder: Path) -> None:
    """What a whole run needs before its first step: device, checkpoint, labels, k labelled shapes, readable shapes.

    Args:
        cfg: the configuration of the pipeline.
        folder: where the pretraining goes. Once it has finished, the shapes are not read again only to check them.

    Raises:
        InputError: the first of these that is wrong.
    """
    make_fabric(cfg)
    if cfg.checkpoint is not None:
        load_pretrained(build_model(_without_weights(cfg), cfg.views.channels, None), cfg.checkpoint)
    shape_set = make_shape_set(cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    train, test = shape_set.ids("train"), shape_set.ids(cfg.evaluation.split)[: cfg.evaluation.limit]
    if cfg.training.finetune.k > len(train):
        raise InputError(
            f"training.finetune.k={cfg.training.finetune.k}, but the training split of {cfg.data.root} "
            f"({cfg.data.category}) holds {len(train)} shapes: lower k"
        )
    if not test:
        raise InputError(f"split {cfg.evaluation.split!r} of {cfg.data.root} ({cfg.data.category}) is empty: there is nothing to test on")
    if not (folder / "pretrain.json").exists():
        for ids in (train, test):
            for id in ids:
                load_one(shape_set, id, cfg.data.on_error)


def check_labels(cfg: DictConfig, label_names: tuple[str, ...]) -> None:
    """Raise InputError if the data has no labels to fine-tune on."""
    if not label_names:
        raise InputError(
            f"data {cfg.data.name} ({cfg.data.root}), category {cfg.data.category}: there are no labels to fine-tune on: "
            "choose a category or level that has some, or put label files beside the meshes (data/README.md)"
        )
