"""Checks before any work starts: rules between settings, and the data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvdecor.engine.cli import CONFIGS
from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import check_shared
from mvdecor.engine.settings import check_out
from mvdecor.errors import InputError
from mvdecor.imports import import_object, make_object
from mvdecor.networks import build_model, load_pretrained
from mvdecor.networks.encoders import check_weights
from mvdecor.settings import unknown_setting
from mvdecor.shapes.loading import labels_by_shape
from mvdecor.systems.mvdecor.fewshot import split_run
from mvdecor.systems.mvdecor.held_out import check_held_out_data
from mvdecor.systems.mvdecor.settings import DataSettings, MvDeCorSettings
from mvdecor.systems.mvdecor.setup import AUTO, make_recipe, make_segmentation_loss, make_store
from mvdecor.systems.mvdecor.trained import check_sight
from mvdecor.systems.mvdecor.validation import validation_ids


def check_config(cfg: DictConfig, settings: type[MvDeCorSettings] = MvDeCorSettings) -> None:
    """Refuse values that would only be noticed later; reads no data and takes well under a second.

    Args:
        cfg: the whole configuration.
        settings: its class, where a program has settings besides those of the stages.

    Raises:
        InputError: an unknown setting or word, a value of another type or out of range, settings that exclude each
            other, a network or loss that cannot be made, or an `out` that cannot be written.
    """
    checked = settings.of(cfg, complete=True)
    _check_labelled_views(checked)
    _check_negatives(checked)
    _check_parts(cfg)
    _check_data(cfg)
    for name, metric in checked.evaluation.metrics.items():
        import_object(str(metric.get("_target_")), f"evaluation.metrics.{name}._target_")
    check_out(Path(checked.out))
    cache = checked.views.cache
    if cache not in (None, AUTO) and not Path(str(cache)).is_dir():  # one that is full may be read-only
        check_out(Path(str(cache)), "views.cache")


def _check_labelled_views(settings: MvDeCorSettings) -> None:
    v, count = settings.training.finetune.v, settings.views.count
    if v is not None and v > count:
        raise InputError(f"training.finetune.v={v} labelled views, but views.count={count}: lower v or raise the count")


def _check_negatives(settings: MvDeCorSettings) -> None:
    """Negatives from the other pairs of a batch need other pairs."""
    if settings.loss.get("negatives") != "batch":
        return
    training = settings.training
    stages = {"pretrain": training.pretrain.pairs}
    if training.finetune.lambda_ssl > 0:
        stages["finetune"] = training.finetune.pairs
    for stage, pairs in stages.items():
        if pairs < 2:
            raise InputError(
                f"loss.negatives=batch with training.{stage}.pairs={pairs}: a batch of one pair has no negatives: give at "
                "least 2 pairs, or loss.negatives=both"
            )


def check_shares(cfg: DictConfig, *stages: str) -> None:
    """Refuse stages ("pretrain", "finetune") whose batches have fewer items than there are processes.

    Pairs of a joint fine-tuning may be fewer: processes without any compute the labelled views' loss alone.

    Raises:
        InputError: the smallest size if that is too small, and the numbers that work.
    """
    training, sizes = cfg.training, []
    if "pretrain" in stages:
        sizes.append((training.pretrain.pairs, "training.pretrain.pairs"))
    if "finetune" in stages:
        sizes.append((training.finetune.batch_size, "training.finetune.batch_size"))
        if training.finetune.lambda_ssl > 0 and (training.gather or not training.finetune.joint):
            sizes.append((training.finetune.pairs, "training.finetune.pairs"))
    if sizes:
        check_shared(*min(sizes))


def _check_parts(cfg: DictConfig) -> None:
    """Make the network (without memory for its weights) and the losses once."""
    with torch.device("meta"):
        network = build_model(cfg.network, cfg.views.channels, None, initial_weights=False).config
    if cfg.checkpoint is None and "encoder" in network:
        check_weights(network["encoder"], network.get("weights"))
    for group in ("loss", "segmentation_loss"):
        make_object(cfg[group], group)
    stages: tuple[Literal["pretrain", "finetune"], ...] = ("pretrain", "finetune")
    for stage in stages:
        try:
            recipe = make_recipe(cfg.training, stage, seed=0)
            recipe.schedule(recipe.optimizer([nn.Parameter(torch.zeros(1))]), recipe.steps)
        except (InstantiationException, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(
                f"training.{stage}: its optimizer or schedule cannot be made ({reason}): see configs/training"
            ) from error


def _check_data(cfg: DictConfig) -> None:
    """Refuse a setting of `data` that is in none of configs/data, and that no reader looks at."""
    names = {*DataSettings.model_fields}
    for file in Path(CONFIGS, "data").glob("*.yaml"):
        names |= {str(key) for key in OmegaConf.load(file)} - {"defaults"}
    for reader in (cfg.data.labelled, cfg.data.unlabelled):
        names |= {str(key) for key in reader}
    names |= set(re.findall(r"\$\{data\.(\w+)", str(OmegaConf.to_container(cfg.data, resolve=False))))
    for key in cfg.data:
        if key not in names:
            raise InputError(unknown_setting(f"data.{key}", [f"data.{name}" for name in sorted(names)]))


def check_batch(cfg: DictConfig) -> None:
    """Refuse a fine-tuning whose batches are one image of which batch norms see one pixel: there is no variance in that.

    Raises:
        InputError: the network has such batch norms; the message names settings that help.
    """
    settings, layers = cfg.training.finetune, cfg.views.layers
    contrast = 2 * settings.pairs if settings.lambda_ssl > 0 and settings.joint else 0
    if (settings.batch_size + contrast) * layers > 1 or (settings.batch_norm != "train" and cfg.checkpoint is not None):
        return
    with torch.device("meta"):  # shapes alone: no memory, no computation
        model = build_model(cfg.network, cfg.views.channels, None, initial_weights=False).train()
        image = torch.empty(1, len(model.mean), cfg.views.size, cfg.views.size)
    try:
        model.embed(image)
    except ValueError as error:  # InputError is one: some networks say so themselves
        raise InputError(
            f"training.finetune.batch_size=1, views.size={cfg.views.size}: the network cannot be trained on one such image "
            f"({error}): give a batch_size of at least 2, or larger views"
        ) from error


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
        model = build_model(cfg.network, cfg.views.channels, None, initial_weights=False)
        check_sight(load_pretrained(model, cfg.checkpoint), cfg.checkpoint, cfg.views)
    shape_set = make_store(cfg, cfg.data.labelled)
    check_labels(cfg, shape_set.label_names)
    make_segmentation_loss(cfg, len(shape_set.label_names))
    if cfg.training.finetune.validate_every is not None:
        validation_ids(cfg, shape_set)
    test_set = check_held_out_data(cfg, shape_set)
    train, test = shape_set.ids("train"), test_set.ids(cfg.evaluation.split)[: cfg.evaluation.limit]
    on_error = cfg.data.on_error
    if cfg.training.finetune.split is not None:  # then no other labelled shapes are needed, and none of them may be bad
        runs = [split_run(cfg, shape_set, run) for run in range(cfg.training.finetune.runs)]
        train, on_error = sorted({id for run in runs for id in run.shapes}), "raise"
    _check_size(cfg, len(train), len(test))
    if (folder / "pretrain.json").exists():
        return
    labels = [labels_by_shape(shape_set, train, on_error)[0], labels_by_shape(test_set, test, cfg.data.on_error)[0]]
    _check_size(cfg, *map(len, labels))
    for split, shape_labels in zip(("train", cfg.evaluation.split), labels, strict=True):
        if not set().union(*shape_labels.values()):
            raise InputError(
                f"none of the {len(shape_labels)} shapes of split {split!r} of {cfg.data.root} ({cfg.data.category}) has a "
                "face of a known part: choose another data.level or category"
            )


def check_labels(cfg: DictConfig, label_names: tuple[str, ...]) -> None:
    """Raise InputError if the data has no labels to fine-tune on."""
    if not label_names:
        raise InputError(
            f"data {cfg.data.name} ({cfg.data.root}), category {cfg.data.category}: there are no labels to fine-tune on: "
            "choose a category or level that has some, or put label files beside the meshes (data/README.md)"
        )


def check_labels_of(
    metadata: Mapping[str, Any], checkpoint: Path | str, label_names: Sequence[str] | None = None
) -> None:
    """Raise InputError if a checkpoint's record says that it labels nothing, or other parts than those of the data."""
    if metadata.get("kind") != "finetuned":
        raise InputError(
            f"{checkpoint}: this model was only pretrained and has no labels yet: run scripts/finetune.py first"
        )
    model_labels = metadata.get("label_names", [])
    if label_names is not None and list(model_labels) != list(label_names):
        raise InputError(
            f"{checkpoint}: the model's labels ({', '.join(model_labels)}) are not those of the data "
            f"({', '.join(label_names)}): give a model that was fine-tuned on them, or choose the category and level that it "
            "was fine-tuned on"
        )


def _check_size(cfg: DictConfig, train: int, test: int) -> None:
    location = f"of {cfg.data.root} ({cfg.data.category})"
    if cfg.training.finetune.k > train:
        raise InputError(
            f"training.finetune.k={cfg.training.finetune.k}, but the training split {location} holds {train} usable shapes: "
            "lower k"
        )
    if test == 0:
        raise InputError(
            f"split {cfg.evaluation.split!r} {location} holds no usable shape: add shapes to it, or choose another "
            "evaluation.split"
        )
