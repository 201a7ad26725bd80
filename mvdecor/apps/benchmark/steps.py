"""Rows of training and evaluation: their overhead over the network alone."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Literal

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.apps.benchmark.measure import (
    Row,
    Spread,
    Training,
    device_name,
    synchronize,
    time_both,
    time_runs,
    time_steps,
)
from mvdecor.apps.benchmark.shapes import Shapes
from mvdecor.engine.cli import compose_config
from mvdecor.engine.device import open_device
from mvdecor.engine.log import Log
from mvdecor.engine.loop import Loop, Recipe, Validation
from mvdecor.engine.loop import train as train_loop
from mvdecor.evaluation import PartMetrics, Reliability
from mvdecor.lifting import Calibration
from mvdecor.networks import Model, build_model
from mvdecor.systems.mvdecor import finetune, pretrain
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from mvdecor.systems.mvdecor.evaluate import Evaluated, evaluate_shape
from mvdecor.systems.mvdecor.setup import (
    make_pair_source,
    make_recipe,
    make_rendering,
    make_shape_views,
    prepared,
    rasterizing_device,
    seed_of_test_views,
)
from mvdecor.views import surface_of

Stage = Literal["pretrain", "finetune"]
SKIPPED = 3  # first steps, which also fill caches


class Stopwatch(Log):
    """A log that writes nothing and notes when each step begins."""

    def __init__(self, device: torch.device) -> None:
        super().__init__(None, every=50, bar=False)
        self._device = device
        self._begun: list[float] = []

    def progress(self, steps: int, name: str, first: int = 0) -> Iterator[int]:
        """Count the steps."""
        for step in range(first, steps):
            if step in (SKIPPED, steps - 1):  # the host may run ahead of a GPU in between
                synchronize(self._device)
            self._begun.append(time.perf_counter())
            yield step

    def scalars(self, group: str, figures: object, step: int) -> None:
        """Nothing."""

    def milliseconds(self) -> list[float]:
        """Of each step, on a GPU their mean; without the last one, which validates."""
        times = [1e3 * (b - a) for a, b in pairwise(self._begun[SKIPPED:])]
        return [sum(times) / len(times)] if self._device.type == "cuda" else times


def pretrain_step(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """A step of the pretraining loop, its views read from the cache, against the network's part of it."""
    with tempfile.TemporaryDirectory() as folder:
        step_cfg = benchmark_config(cfg, device, f"views.cache={folder}", "views.keep=false")
        fabric, people = benchmark_fabric(step_cfg), shapes.some("people", 2)
        shape_views = make_shape_views(step_cfg, people, rasterizing_device(step_cfg, fabric))
        settings = step_cfg.training.pretrain
        source = make_pair_source(step_cfg, shape_views, settings.pairs, augment="pretrain")
        loss = instantiate(step_cfg.loss)
        images = source.sample(0, 0).to(device).images.flatten(0, 2)
        for shape in shape_views:
            shape_views.views(shape)  # fills the cache
        batch_time = _sampling_time(source, cfg.slow_repeats, device)

        def train(steps: int, log: Log) -> None:
            """The loop of the pretraining, timed by its log."""
            validation = partial(
                pretrain.validate, fabric=fabric, batch_of=partial(source.sample, 0), loss=loss, count=1
            )
            train_loop(
                Loop(fabric, log, workers=step_cfg.workers),
                _recipe(step_cfg, "pretrain", steps),
                benchmark_model(step_cfg, None),
                {"pairs": (source, "pairs")}, partial(pretrain.step, fabric=fabric, loss=loss),
                Validation(validation, steps, lambda figures: None),
            )  # fmt: skip

        bare = _bare_step(fabric, benchmark_model(step_cfg, None), images, Model.embed)
        figures = _time_steps(train, bare, cfg.steps, cfg.slow_repeats, device)
    training = Training(
        f"pretraining of experiment={step_experiment(cfg, device)}", settings.steps, len(images), batch_time.median
    )
    size, encoder = step_cfg.views.size, step_cfg.network.encoder
    description = (
        f"{settings.pairs} pairs of views of {size}x{size}, {settings.points} matches per pair, {encoder}, "
        f"workers={step_cfg.workers}, {shapes.kind} people of {people[0].num_faces} faces, views from the cache; sampling a "
        f"batch takes {batch_time.median:.3g} ms"
    )
    return Row("pretrain_step", *figures, "ms per step", description, device_name(device), 1.15, "growth", training)


def finetune_step(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """A step of the fine-tuning loop against the network's part of it."""
    step_cfg = benchmark_config(cfg, device, "training.finetune.lambda_ssl=0")
    fabric, people = benchmark_fabric(step_cfg), shapes.some("people", 2)
    settings = step_cfg.training.finetune
    shape_views = make_shape_views(step_cfg, people, rasterizing_device(step_cfg, fabric))
    rendering, views = make_rendering(step_cfg, augment="finetune"), [range(step_cfg.views.count)] * len(people)
    source = LabelledSource(shape_views, rendering, views, settings.batch_size)
    labels = len(people[0].label_names)
    images = source.sample(0, 0).to(device).images.flatten(0, 1)
    for shape in shape_views:
        shape_views.views(shape)  # kept in memory
    batch_time = _sampling_time(source, cfg.slow_repeats, device)

    def train(steps: int, log: Log) -> None:
        loop = Loop(fabric, log, workers=step_cfg.workers)
        recipe, labelled = _recipe(step_cfg, "finetune", steps), {"labelled": (source, "batch_size")}
        train_loop(loop, recipe, benchmark_model(step_cfg, labels), labelled, partial(finetune.step, fabric=fabric))

    bare = _bare_step(fabric, benchmark_model(step_cfg, labels), images, Model.forward)
    figures = _time_steps(train, bare, cfg.steps, cfg.slow_repeats, device)
    size, encoder = step_cfg.views.size, step_cfg.network.encoder
    description = (
        f"{settings.batch_size} views of {size}x{size}, {encoder}, workers={step_cfg.workers}, {shapes.kind} people of "
        f"{people[0].num_faces} faces"
    )
    name = f"fine-tuning of experiment={step_experiment(cfg, device)}, without pairs"
    training = Training(name, settings.steps, len(images), batch_time.median)
    return Row("finetune_step", *figures, "ms per step", description, device_name(device), 1.10, "growth", training)


def evaluate_shape_row(cfg: DictConfig, shapes: Shapes, device: torch.device) -> Row:
    """All that is done with a test shape that was read, against the recipe's network on its views."""
    shape = shapes.some("people", 2)[0]
    with tempfile.TemporaryDirectory() as folder:
        size = (f"views.count={cfg.num_views}", f"views.size={cfg.size}", "views.close_ups=0")
        step_cfg = benchmark_config(cfg, device, *size, f"network={cfg.evaluate_network}", f"out={folder}")
        fabric = benchmark_fabric(step_cfg)
        model = benchmark_model(step_cfg, len(shape.label_names)).to(fabric.device).eval()
        shape_views = make_shape_views(step_cfg, [shape], fabric.device, views_seed=seed_of_test_views)
        on_device = shape_views[0]
        views, rendering, batch = shape_views.views(on_device), make_rendering(step_cfg), step_cfg.evaluation.batch_size
        ready = [
            rendering(on_device, part, surface_of(on_device, part)).flatten(0, 1)
            for part in (views[slice(start, start + batch)] for start in range(0, len(views), batch))
        ]

        def ours() -> None:
            labels, ceiling = (PartMetrics(shape.label_names, "mvdecor", step_cfg.evaluation.points) for _ in range(2))
            evaluated = Evaluated(labels, ceiling, Reliability(), Reliability())
            evaluate_shape(step_cfg, fabric, model, shape, 0, evaluated, Calibration())

        @torch.no_grad()
        def bare() -> None:
            with fabric.autocast():
                for images in ready:
                    model(images)

        figures = time_both(ours, bare, cfg.slow_repeats, device)
    description = (
        f"{len(views)} views of {cfg.size}x{cfg.size}, {shape.num_faces} faces, {step_cfg.network.encoder}, "
        f"{shapes.kind} person; rendered, embedded, voted, filled, measured, its ceiling too, and written"
    )
    return Row("evaluate_shape", *figures, "s per shape", description, device_name(device), 1.3, "growth")


def step_experiment(cfg: DictConfig, device: torch.device) -> str:
    """The experiment of the rows of training and evaluation."""
    return cfg.step_experiment or ("partnet" if device.type == "cuda" else "people_cpu")


def benchmark_config(cfg: DictConfig, device: torch.device, *row_overrides: str) -> DictConfig:
    """The configuration of `step_experiment` on a device, with the benchmark's overrides, then those of a row."""
    overrides = [
        f"experiment={step_experiment(cfg, device)}",
        *("data.root=none", "views.cache=null"),
        f"device={device.type}",
        *(cfg.overrides or ()),
        *row_overrides,
    ]
    return compose_config(overrides)


def benchmark_model(step_cfg: DictConfig, labels: int | None) -> Model:
    """A model with seeded weights; without a head if `labels` is None."""
    torch.manual_seed(0)
    return prepared(build_model(step_cfg.network, step_cfg.views.channels, labels, initial_weights=False), step_cfg)


def _sampling_time(source: PairSource | LabelledSource, repeats: int, device: torch.device) -> Spread:
    """Milliseconds to prepare the batch of a step, another one each time."""
    steps = itertools.count()
    return time_runs(lambda: source.sample(0, next(steps)), repeats, device, 1e-3)


def _bare_step(
    fabric: Fabric, model: Model, images: Tensor, forward: Callable[[Model, Tensor], Tensor]
) -> Callable[[], None]:
    """Forward pass, backward pass and optimizer on images that are ready."""
    wrapped, optimizer = fabric.setup(model, torch.optim.Adam(model.parameters(), 1e-4))
    wrapped.train()

    def run() -> None:
        with fabric.autocast():
            value = forward(model, images).float().square().mean()
        optimizer.zero_grad()
        fabric.backward(value)
        optimizer.step()

    return run


def _time_steps(
    train: Callable[[int, Log], None], bare: Callable[[], None], steps: int, rounds: int, device: torch.device
) -> tuple[Spread, Spread]:
    """Milliseconds of a step of `train(steps, log)` and of a bare step, some of the steps of each alternately."""
    of_loop, of_network = [], []
    for _ in range(rounds):
        watch = Stopwatch(device)
        train(SKIPPED + max(1, steps // rounds) + 1, watch)
        of_loop += watch.milliseconds()
        of_network += time_steps(bare, SKIPPED, max(1, steps // rounds), device)
    return Spread.of(of_loop), Spread.of(of_network)


def _recipe(cfg: DictConfig, stage: Stage, steps: int) -> Recipe:
    return replace(make_recipe(cfg.training, stage, 0), steps=steps)


def benchmark_fabric(cfg: DictConfig) -> Fabric:
    """Device and precision of the configuration, everything seeded."""
    seed_everything(cfg.seed, verbose=False)
    return open_device(cfg.device, cfg.precision)
