"""Rows of large data sets: memory and time of a training step do not grow with the number of shapes."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from mvdecor.apps.benchmark.measure import Row, Spread, device_name, peak_memory
from mvdecor.apps.benchmark.shapes import Shapes
from mvdecor.apps.benchmark.steps import SKIPPED, Stopwatch, benchmark_config, benchmark_fabric, benchmark_model
from mvdecor.engine.log import Log
from mvdecor.engine.loop import Loop, Validation
from mvdecor.engine.loop import train as train_loop
from mvdecor.made_up.generate import make_models
from mvdecor.shapes import Shape, ShapeStore, load_shapes
from mvdecor.systems.mvdecor import pretrain
from mvdecor.systems.mvdecor.setup import make_pair_source, make_recipe, make_shape_views

GROWTH = 1.1
"""By how much a figure may be greater with more shapes."""


class Stretched:
    """A made-up chair, stretched by another factor for each of many shapes; a file stands for each of them."""

    label_names: tuple[str, ...] = ()

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._count = folder, count
        folder.mkdir(exist_ok=True)
        for id in self.ids("all"):
            (folder / id).write_text(id)

    def ids(self, split: str) -> list[str]:
        """All of them, whatever the split."""
        return [f"{number:06}" for number in range(self._count)]

    def files(self, id: str, labels: bool = True) -> list[Path]:
        """The file that stands for a shape."""
        return [self._folder / id]

    def load(self, id: str) -> Shape:
        """The shape, in the unit sphere."""
        factor = 0.5 + int(id) / self._count
        shape = made_up_chair()
        return replace(shape, id=id, vertices=shape.vertices * torch.tensor([1.0, factor, 1.0])).normalized()


@cache
def made_up_chair() -> Shape:
    """The first made-up chair, without labels."""
    (model,) = make_models("Chair", 1)
    solids = [solid for part in model.parts for solid in part.solids]
    starts = np.cumsum([0, *(len(solid.vertices) for solid in solids)])
    faces = np.concatenate([solid.faces + start for solid, start in zip(solids, starts, strict=False)])
    vertices = np.concatenate([solid.vertices for solid in solids])
    return Shape("chair", torch.from_numpy(vertices).float(), torch.from_numpy(faces).long())


@cache
def folder_of_process() -> Path:
    """Of the stored shapes; removed when the process ends."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def memory(cfg: DictConfig, shapes: Shapes, device: torch.device, factor: int) -> Row:
    """Peak memory of some steps of the pretraining above that of the program, against that with fewer shapes."""
    _store(cfg, factor)
    many_shapes, few_shapes = (
        Spread.of([peak_memory(_steps_run, device, cfg, folder_of_process(), count)])
        for count in (factor * cfg.few_shapes, cfg.few_shapes)
    )
    return Row(
        f"memory_{factor}x",
        many_shapes,
        few_shapes,
        "MB at the peak",
        _size(cfg, factor),
        device_name(device),
        GROWTH,
        "growth",
    )


def step(cfg: DictConfig, shapes: Shapes, device: torch.device, factor: int) -> Row:
    """Time of a step of the pretraining, against that with fewer shapes, some steps of each by turns."""
    _store(cfg, factor)
    steps = SKIPPED + max(1, cfg.steps // cfg.slow_repeats) + 1
    runs = [_training(cfg, device, folder_of_process(), count) for count in (factor * cfg.few_shapes, cfg.few_shapes)]
    times: list[list[float]] = [[], []]
    for _ in range(cfg.slow_repeats):
        for run, of_run in zip(runs, times, strict=True):
            watch = Stopwatch(device)
            run(steps, watch)
            of_run += watch.milliseconds()
    many_shapes, few_shapes = map(Spread.of, times)
    return Row(
        f"step_{factor}x",
        many_shapes,
        few_shapes,
        "ms per step",
        _size(cfg, factor),
        device_name(device),
        GROWTH,
        "growth",
    )


def _size(cfg: DictConfig, factor: int) -> str:
    faces, few = made_up_chair().num_faces, cfg.few_shapes
    return f"{factor * few} made-up shapes of {faces} faces, against {few}; pairs of views rasterized for each step"


def _store(cfg: DictConfig, factor: int) -> None:
    """Read all shapes once."""
    _source(cfg, torch.device("cpu"), folder_of_process(), factor * cfg.few_shapes)


def _source(cfg: DictConfig, device: torch.device, folder: Path, count: int):
    step_cfg = benchmark_config(cfg, device, "views.keep=false")
    store = ShapeStore(Stretched(folder / f"{count} shapes", count), folder / "cache")
    shapes, _ = load_shapes(store, store.ids("all"))
    shape_views = make_shape_views(step_cfg, shapes, device)
    return step_cfg, make_pair_source(step_cfg, shape_views, step_cfg.training.pretrain.pairs, augment="pretrain")


def _training(cfg: DictConfig, device: torch.device, folder: Path, count: int) -> Callable[[int, Log], None]:
    """Runs so many steps of the pretraining."""
    step_cfg, source = _source(cfg, device, folder, count)
    fabric, loss = benchmark_fabric(step_cfg), instantiate(step_cfg.loss)

    def run(steps: int, log: Log) -> None:
        """So many steps, with one validation at the end."""
        validation = partial(pretrain.validate, fabric=fabric, batch_of=partial(source.sample, 0), loss=loss, count=1)
        recipe = replace(make_recipe(step_cfg.training, "pretrain", 0), steps=steps)
        train_loop(
            Loop(fabric, log, workers=step_cfg.workers),
            recipe,
            benchmark_model(step_cfg, None),
            {"pairs": (source, "pairs")},
            partial(pretrain.step, fabric=fabric, loss=loss),
            Validation(validation, steps, lambda figures: None),
        )

    return run


def _steps_run(device: torch.device, cfg: DictConfig, folder: Path, count: int) -> Callable[[], None]:
    """What `peak_memory` measures: the shapes are opened, and some steps done."""
    return lambda: _training(cfg, device, folder, count)(cfg.steps, Stopwatch(device))
