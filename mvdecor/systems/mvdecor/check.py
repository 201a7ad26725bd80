"""Checks of a configuration before any work starts."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from mvdecor.engine.device import open_device
from mvdecor.errors import InputError
from mvdecor.evaluation.metrics import PROTOCOLS
from mvdecor.lifting.fill import FILL_RULES
from mvdecor.lifting.vote import LAYER_ORDERS, VOTE_RULES
from mvdecor.networks import Model, build_model, load_pretrained
from mvdecor.networks.encoders import check_weights
from mvdecor.progress import told
from mvdecor.shapes import ShapeSet
from mvdecor.shapes.loading import labels_of, load_labelled
from mvdecor.systems.mvdecor.fewshot import split_run
from mvdecor.systems.mvdecor.held_out import check_held_out_data
from mvdecor.systems.mvdecor.setup import make_shape_set

CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "data.on_error": ("raise", "skip"),
    "data.pretrain_split": ("train", "unlabelled", "all"),
    "views.rasterizer": ("auto", "embree", "pytorch3d"),
    "views.depth": ("minmax", "metric"),
    "views.normal_frame": ("camera", "world"),
    "training.pretrain.source": ("views", "crops"),
    "training.pretrain.schedule": ("plateau", "cosine", "constant"),
    "training.finetune.batch_norm": ("train", "eval_pretrained"),
    "lifting.rule": VOTE_RULES,
    "lifting.layer_order": LAYER_ORDERS,
    "lifting.fill": FILL_RULES,
    "evaluation.protocol": PROTOCOLS,
    "evaluation.split": ("train", "val", "test", "all"),
}
"""Settings that take one of a few words."""

COUNTS: dict[str, int] = {
    "seed": 0,
    "save_every": 1,
    "workers": 0,
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
NOT_NEGATIVE = (
    *("views.jitter", "training.pretrain.colour_jitter", "training.finetune.colour_jitter"),
    *("training.crops.colour_jitter", "training.finetune.lambda_ssl", "lifting.power"),
)

FLAGS = (
    *("training.matching.unique", "training.pretrain.replace", "training.finetune.joint", "training.finetune.replace"),
)
"""Settings that are true or false."""


def check_config(cfg: DictConfig) -> None:
    """Refuse values that would only be noticed later; reads no data and takes well under a second.

    Raises:
        InputError: an unknown word, a number out of range, a network or loss that cannot be made, or an `out` that
            cannot be written.
    """
    check_words_and_counts(cfg)
    for key in (*RATES, *NOT_NEGATIVE):
        value = OmegaConf.select(cfg, key)
        if not isinstance(value, int | float) or not (value > 0 if key in RATES else value >= 0):
            raise InputError(f"{key}={value}: give a number {'above 0' if key in RATES else 'of at least 0'}")
    for key in FLAGS:
        if not isinstance(value := OmegaConf.select(cfg, key), bool):
            raise InputError(f"{key}={value}: choose true or false")
    _check_ranges(cfg)
    _check_parts(cfg)
    _check_negatives(cfg)
    check_out(Path(cfg.out))
    check_cache(cfg)


def check_words_and_counts(cfg: DictConfig, only: Collection[str] | None = None) -> None:
    """Refuse unknown words, and numbers that are no counts: of all settings that are one, or `only` of these keys.

    Raises:
        InputError: the first of them.
    """
    for key, words in CHOICES.items():
        if only is not None and key not in only:
            continue
        if (value := OmegaConf.select(cfg, key)) not in words:
            raise InputError(f"{key}={value} is unknown: choose {', '.join(words[:-1])} or {words[-1]}")
    for key, least in {**COUNTS, **COUNTS_OR_NULL}.items():
        value = OmegaConf.select(cfg, key)
        if (only is not None and key not in only) or (value is None and key in COUNTS_OR_NULL):
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise InputError(f"{key}={value}: give a whole number of at least {least}")


def _check_ranges(cfg: DictConfig) -> None:
    if not 0 < cfg.training.pretrain.validation_share < 1:
        share = cfg.training.pretrain.validation_share
        raise InputError(f"training.pretrain.validation_share={share}: give a share between 0 and 1")
    _check_crops(cfg)
    v, count = cfg.training.finetune.v, cfg.views.count
    if v is not None and v > count:
        raise InputError(f"training.finetune.v={v} labelled views, but views.count={count}: lower v or raise the count")
    cosine = cfg.training.matching.min_cosine
    if not isinstance(cosine, int | float) or not -1 <= cosine <= 1:
        raise InputError(f"training.matching.min_cosine={cosine}: give a cosine from -1 (ignore normals) to 1")
    if cfg.lifting.rule == "official" and cfg.lifting.power % 2 != 0:
        raise InputError(f"lifting.power={cfg.lifting.power}: lifting.rule=official needs an even number")


def check_run(cfg: DictConfig, folder: Path) -> None:
    """What a whole run needs before its first step: device, checkpoint, labels, k labelled shapes, readable shapes.

    Args:
        cfg: the configuration of the pipeline.
        folder: where the pretraining goes. Once it has finished, the shapes are not read again only to check them.

    Raises:
        InputError: the first of these that is wrong.
    """
    open_device(cfg.device, cfg.precision)
    if cfg.checkpoint is not None:
        load_pretrained(build_model(cfg.network, cfg.views.channels, None, initial_weights=False), cfg.checkpoint)
    shape_set = make_shape_set(cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    test_set = check_held_out_data(cfg, shape_set)
    train, test = shape_set.ids("train"), test_set.ids(cfg.evaluation.split)[: cfg.evaluation.limit]
    on_error = cfg.data.on_error
    if cfg.training.finetune.split is not None:  # then no other labelled shapes are needed, and none of them may be bad
        runs = [split_run(cfg, shape_set, run) for run in range(cfg.training.finetune.runs)]
        train, on_error = sorted({id for run in runs for id in run.shapes}), "raise"
    _check_size(cfg, len(train), len(test))
    if (folder / "pretrain.json").exists():
        return
    labels = [_labels(shape_set, train, on_error), _labels(test_set, test, cfg.data.on_error)]
    _check_size(cfg, *map(len, labels))
    for split, found in zip(("train", cfg.evaluation.split), labels, strict=True):
        if not set().union(*found):
            raise InputError(
                f"none of the {len(found)} shapes of split {split!r} of {cfg.data.root} ({cfg.data.category}) has a face of "
                "a known part: choose another data.level or category"
            )


def check_labels(cfg: DictConfig, label_names: tuple[str, ...]) -> None:
    """Raise InputError if the data has no labels to fine-tune on."""
    if not label_names:
        raise InputError(
            f"data {cfg.data.name} ({cfg.data.root}), category {cfg.data.category}: there are no labels to fine-tune on: "
            "choose a category or level that has some, or put label files beside the meshes (data/README.md)"
        )


def check_labels_of(info: Mapping[str, Any], checkpoint: Path | str, label_names: Sequence[str] | None = None) -> None:
    """Raise InputError if a checkpoint's record says that it labels nothing, or other parts than those of the data."""
    if info.get("kind") != "finetuned":
        raise InputError(
            f"{checkpoint}: this model was only pretrained and has no labels yet: run scripts/finetune.py first"
        )
    own = info.get("label_names", [])
    if label_names is not None and list(own) != list(label_names):
        raise InputError(
            f"{checkpoint}: the model's labels ({', '.join(own)}) are not those of the data ({', '.join(label_names)}): give "
            "a model that was fine-tuned on them, or choose the category and level that it was fine-tuned on"
        )


def check_channels(model: Model, cfg: DictConfig) -> None:
    """Raise InputError if the model of `cfg.checkpoint` takes other channels than the configuration renders."""
    if list(model.channels) != list(cfg.views.channels):
        raise InputError(
            f"{cfg.checkpoint}: the model takes {'+'.join(model.channels)}, the configuration renders "
            f"{'+'.join(cfg.views.channels)}: set views.channels=[{','.join(model.channels)}]"
        )


def _check_size(cfg: DictConfig, train: int, test: int) -> None:
    where = f"of {cfg.data.root} ({cfg.data.category})"
    if cfg.training.finetune.k > train:
        raise InputError(
            f"training.finetune.k={cfg.training.finetune.k}, but the training split {where} holds {train} usable shapes: "
            "lower k"
        )
    if test == 0:
        raise InputError(
            f"split {cfg.evaluation.split!r} {where} holds no usable shape: add shapes to it, or choose another "
            "evaluation.split"
        )


def _labels(shape_set: ShapeSet, ids: Iterable[str], on_error: str) -> list[set[int]]:
    """The labels of each shape; those skipped are left out without a word, the stage that skips them says so."""
    found = []
    ids = list(ids)
    for id in told(ids, "checking shapes", len(ids)):
        try:
            shape, _ = load_labelled(shape_set, id, "raise")
        except InputError:
            if on_error == "raise":
                raise
            continue
        assert shape is not None
        found.append(labels_of(shape))
    return found


def _check_crops(cfg: DictConfig) -> None:
    crops = cfg.training.crops
    for key, most in (("scale", 1.0), ("ratio", float("inf"))):
        bounds = list(crops[key]) if OmegaConf.is_list(crops[key]) else []
        numbers = len(bounds) == 2 and all(isinstance(x, int | float) for x in bounds)
        if not numbers or not 0 < bounds[0] <= bounds[1] <= most:
            limit = f", at most {most:g}" if most == 1 else ""
            raise InputError(f"training.crops.{key}={crops[key]}: give [least, greatest], both above 0{limit}")
    if not isinstance(crops.flip, int | float) or not 0 <= crops.flip <= 1:
        raise InputError(f"training.crops.flip={crops.flip}: give a probability between 0 and 1")


def _check_parts(cfg: DictConfig) -> None:
    """Make the network (without memory for its weights) and the loss once."""
    with torch.device("meta"):
        network = build_model(cfg.network, cfg.views.channels, None, initial_weights=False).config
    if cfg.checkpoint is None and "encoder" in network:
        check_weights(network["encoder"], network.get("weights"))
    try:
        instantiate(cfg.loss)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):  # names the setting itself
            raise error.__cause__ from None
        reason = str(error.__cause__ or error).splitlines()[0]
        raise InputError(f"loss: {cfg.loss.get('_target_')} cannot be made ({reason}): see configs/loss") from error


def _check_negatives(cfg: DictConfig) -> None:
    """Negatives from the other pairs of a batch need other pairs."""
    if cfg.loss.get("negatives") != "batch":
        return
    for stage, used in (("pretrain", True), ("finetune", cfg.training.finetune.lambda_ssl > 0)):
        if used and cfg.training[stage].pairs < 2:
            raise InputError(
                f"loss.negatives=batch with training.{stage}.pairs={cfg.training[stage].pairs}: a batch of one pair has no "
                "negatives: give at least 2 pairs, or loss.negatives=both"
            )


def check_cache(cfg: DictConfig) -> None:
    """Raise InputError if `views.cache` is no folder and cannot become one; one that is full may be read-only."""
    cache = cfg.views.cache
    if cache is None:
        return
    if not isinstance(cache, str):
        raise InputError(f"views.cache={cache}: name a folder, or null for no cache")
    if not Path(cache).is_dir():
        check_out(Path(cache), "views.cache")


def check_out(out: Path, key: str = "out") -> None:
    """The nearest folder that exists must be one that can be written to."""
    folder = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not folder.is_dir():
        raise InputError(f"{key}={out}: {folder} is a file: name a folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{key}={out}: {folder} cannot be written to: name another folder")
