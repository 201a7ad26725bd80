"""Shapes, views and sources of batches from the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from torch import nn

from mvdecor.correspondences import Matching
from mvdecor.engine.distributed import barrier, own_part, processes
from mvdecor.engine.loop import Recipe
from mvdecor.engine.schedules import make_schedule
from mvdecor.errors import InputError
from mvdecor.files import is_writable
from mvdecor.imports import make_object
from mvdecor.networks import Model, build_model, load_pretrained
from mvdecor.progress import say_once
from mvdecor.seeds import seed_of
from mvdecor.shapes import Shape, ShapeSet, ShapeStore, load_shapes
from mvdecor.shapes.loading import LazyShapes
from mvdecor.shapes.splits import FewShotRun
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.systems.mvdecor.crops import CropPairSource
from mvdecor.systems.mvdecor.trained import check_sight
from mvdecor.views import CachedViews, Cameras, Rendering, make_rasterizer, place_cameras
from mvdecor.views.shape_views import ShapeViews

AUTO = "auto"
"""`views.cache=auto`: in the folder `cache`, where it can be written and has room."""


def make_shape_set(node: DictConfig) -> ShapeSet:
    """A data set of the `data` group."""
    return make_object(node, "data")


def make_store(cfg: DictConfig, node: DictConfig) -> ShapeStore:
    """A data set of the `data` group whose shapes are kept in the folder `cache` once they were read."""
    folder = None if cfg.cache is None else Path(cfg.cache, "shapes").expanduser()
    if folder is not None and not is_writable(folder):
        say_once(
            f"note: cache={cfg.cache} cannot be written to: shapes are read from their own files whenever they are used"
        )
        folder = None
    shape_set = make_shape_set(node)
    reader: Any = OmegaConf.to_container(node, resolve=True)
    if type(shape_set).__module__.startswith("mvdecor.shapes."):  # of these, no shape depends on where it lies
        reader = {key: value for key, value in reader.items() if key not in ("root", "splits", "labels", "meshes")}
    return ShapeStore(shape_set, folder, reader)


def rasterizing_device(cfg: DictConfig, fabric: Fabric) -> torch.device:
    """Where a training's views are made: on its device, or on the CPU by workers."""
    return torch.device("cpu") if cfg.workers > 0 else fabric.device


def pretraining_shapes(cfg: DictConfig, shared: bool = False) -> tuple[LazyShapes, list[tuple[str, str]]]:
    """The shapes to pretrain on, and those skipped with their reasons.

    Args:
        cfg: the configuration.
        shared: all processes call this together; each reads a part of the shapes from their own files.
    """
    shape_set = make_store(cfg, cfg.data.unlabelled)
    ids = shape_set.ids(cfg.data.pretrain_split)[: cfg.data.pretrain_limit]
    if shared and processes() > 1:
        with contextlib.suppress(InputError):  # a bad shape is named below
            load_shapes(shape_set, own_part(ids), "raise", cfg.workers)
        barrier()
    return load_shapes(shape_set, ids, cfg.data.on_error, cfg.workers)


def place(cfg: DictConfig, shape: Shape, seed: int) -> Cameras:
    """The cameras of the `views` group for a shape."""
    views = cfg.views
    return place_cameras(
        shape,
        views.count,
        views.size,
        seed,
        views.close_ups,
        fov=views.fov,
        distance=tuple(views.distance),
        jitter=views.jitter,
    )


def seed_of_training_views(cfg: DictConfig, id: str) -> int:
    """Seed of the cameras that a shape is trained through, with and without labels."""
    return seed_of(cfg.seed, "training views", id)


def seed_of_test_views(cfg: DictConfig, id: str) -> int:
    """Seed of the cameras that a shape is tested through; no training sees these views."""
    return seed_of(cfg.seed, "test views", id)


def seed_of_calibration_views(cfg: DictConfig, id: str) -> int:
    """Seed of the cameras that the confidence is calibrated with on a labelled shape."""
    return seed_of(cfg.seed, "calibration views", id)


def make_shape_views(
    cfg: DictConfig,
    shapes: Sequence[Shape],
    device: torch.device,
    views_seed: Callable[[DictConfig, str], int] = seed_of_training_views,
    keep: bool | None = None,
) -> ShapeViews:
    """The shapes with their cameras and views on a device; views come from the files of `views_folder`.

    Args:
        cfg: the configuration.
        shapes: the shapes.
        device: where views are rasterized.
        views_seed: whose cameras: those of trainings, of tests or of the calibration.
        keep: keep face ids in memory; None: as `views.keep` says.
    """
    rasterizer = make_rasterizer(cfg.views.rasterizer, device)
    folder, cache = views_folder(cfg), None
    if folder is not None:
        cache = partial(CachedViews, folder, cfg.views.rasterizer, optional=cfg.views.cache == AUTO)
    keep = cfg.views.keep if keep is None else keep
    return ShapeViews(shapes, partial(_place_by, views_seed, cfg), rasterizer, cfg.views.layers, device, keep, cache)


def views_folder(cfg: DictConfig) -> Path | None:
    """Where face ids lie: the folder `views.cache`, or `views` in the folder `cache`; None: nowhere."""
    if cfg.views.cache != AUTO:
        return None if cfg.views.cache is None else Path(cfg.views.cache)
    return None if cfg.cache is None else Path(cfg.cache, "views").expanduser()


def _place_by(views_seed: Callable[[DictConfig, str], int], cfg: DictConfig, shape: Shape) -> Cameras:
    return place(cfg, shape, views_seed(cfg, shape.id))


def make_rendering(cfg: DictConfig, augment: Literal["pretrain", "finetune"] | None = None) -> Rendering:
    """How views become images, with the random parts of a training stage or without."""
    return Rendering(
        channels=tuple(cfg.views.channels),
        depth=cfg.views.depth,
        normal_frame=cfg.views.normal_frame,
        random_light=augment is not None and cfg.training.random_light,
        colour_jitter=cfg.training[augment].colour_jitter if augment else 0.0,
    )


def make_labelled_source(
    cfg: DictConfig, shapes: Sequence[Shape], few_shot_run: FewShotRun, device: torch.device
) -> LabelledSource:
    """Batches of the labelled views of a few-shot run; a shape sampled twice is one entry, used twice as often."""
    shape_views = make_shape_views(cfg, list({s.id: s for s in shapes}.values()), device)
    numbers = {s.id: i for i, s in enumerate(shape_views)}
    views = [few_shot_run.views_of(s.id, shape_views.num_views(s)) for s in shape_views]
    rendering = make_rendering(cfg, augment="finetune")
    return LabelledSource(
        shape_views, rendering, views, cfg.training.finetune.batch_size, [numbers[s.id] for s in shapes]
    )


def make_mixed_source(
    cfg: DictConfig, labelled: LabelledSource, shapes: Sequence[Shape], device: torch.device
) -> LabelledSource:
    """Batches of which half, on average, is of the shapes of `labelled` and half of others.

    Args:
        cfg: the configuration.
        labelled: the source of the labelled shapes alone.
        shapes: its shapes, in their order, and then the others, which have labels on all their views.
        device: where views are made.
    """
    count = len(labelled.shape_views)
    of_labelled = list(range(count) if labelled.shapes is None else labelled.shapes)
    added = range(count, len(shapes))
    # each list as often as the other is long
    sampled = of_labelled * len(added) + list(added) * len(of_labelled)
    views = [*labelled.views, *[range(cfg.views.count)] * len(added)]
    shape_views = make_shape_views(cfg, shapes, device)
    return LabelledSource(shape_views, labelled.rendering, views, labelled.batch_size, sampled)


def make_pair_source(
    cfg: DictConfig,
    shape_views: ShapeViews,
    pairs: int,
    augment: Literal["pretrain", "finetune"] | None = None,
    kind: type[PairSource] = PairSource,
) -> PairSource:
    """Batches of overlapping pairs of the shape_views' views."""
    return kind(
        shape_views,
        make_rendering(cfg, augment),
        pairs=pairs,
        points=cfg.training.pretrain.points,
        matching=Matching.of(cfg.training.matching, "training.matching"),
        replace=cfg.training.pretrain.replace,
    )


def make_crop_source(
    cfg: DictConfig, shape_views: ShapeViews, pairs: int, augment: Literal["pretrain", "finetune"] | None = None
) -> CropPairSource:
    """Batches of pairs of crops of the shape_views' views (`training.crops`)."""
    crops = cfg.training.crops
    return CropPairSource(
        shape_views,
        replace(make_rendering(cfg, augment), colour_jitter=crops.colour_jitter if augment else 0.0),
        pairs=pairs,
        points=cfg.training.pretrain.points,
        matching=Matching.of(cfg.training.matching, "training.matching"),
        scale=tuple(crops.scale),
        ratio=tuple(crops.ratio),
        flip=crops.flip,
    )


def make_model(cfg: DictConfig, label_names: Sequence[str] | None = None) -> tuple[Model, dict[str, Any]]:
    """The model to train, with the weights of `cfg.checkpoint` or initial ones, and the record of the checkpoint if any.

    Args:
        cfg: the configuration.
        label_names: of the head; None: without a head.
    """
    labels = None if label_names is None else len(label_names)
    model = build_model(cfg.network, cfg.views.channels, labels, initial_weights=cfg.checkpoint is None)
    record: dict[str, Any] = {}
    if cfg.checkpoint is not None:
        record = load_pretrained(model, cfg.checkpoint, label_names or ())
        check_sight(record, cfg.checkpoint, cfg.views)
    return prepared(model, cfg), record


def make_segmentation_loss(cfg: DictConfig, classes: int) -> nn.Module:
    """The loss of `segmentation_loss`; one for another number of labels is refused, by calling it once."""
    loss = instantiate(cfg.segmentation_loss)
    loss(torch.zeros(1, classes, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64))
    return loss


def make_recipe(training: DictConfig, stage: Literal["pretrain", "finetune"], seed: int) -> Recipe:
    """Steps, optimizer and schedule of a stage, from the group `training`."""
    settings = training[stage]
    optimizer = instantiate(settings.optimizer, _partial_=True, lr=settings.learning_rate)
    decay = {"factor": settings.decay, "every": settings.decay_every} if stage == "finetune" else {}
    schedule = make_schedule(settings.schedule, **decay)
    return Recipe(stage, settings.steps, optimizer, schedule, seed, training.cudnn_benchmark)


def prepared(model: Model, cfg: DictConfig) -> Model:
    """A model as it is trained fastest; names and values of its weights stay."""
    if cfg.training.compile:
        model.network.compile()
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
