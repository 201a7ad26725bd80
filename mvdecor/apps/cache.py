"""Filling the view cache before training (scripts/render.py, configs/render.yaml), over processes and machines.

The stages give each shape cameras by its id; `plan` lists the same shapes and seeds.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from omegaconf import DictConfig, OmegaConf
from pydantic import Field

from mvdecor.errors import InputError
from mvdecor.processes import worker_context
from mvdecor.settings import Count
from mvdecor.shapes import ShapeStore
from mvdecor.shapes.loading import labels_by_shape
from mvdecor.systems.mvdecor.check import check_config
from mvdecor.systems.mvdecor.fewshot import sample_run, split_run
from mvdecor.systems.mvdecor.held_out import held_out_data
from mvdecor.systems.mvdecor.settings import MvDeCorSettings
from mvdecor.systems.mvdecor.setup import (
    make_shape_set,
    make_store,
    place,
    seed_of_calibration_views,
    seed_of_test_views,
    seed_of_training_views,
    views_folder,
)
from mvdecor.views import CachedViews, make_rasterizer

TRIALS = 3  # shapes rendered first, to tell how large the cache will be


HELD_OUT = "held out"


class RenderSettings(MvDeCorSettings):
    """configs/render.yaml.

    Attributes:
        stages: whose views.
        workers: processes on this machine.
        shard: see `shard`.
    """

    stages: Annotated[
        list[Literal["pretrain", "finetune", "evaluate"]],
        Field(min_length=1, description="name one or more of pretrain, finetune and evaluate, as in stages=[finetune]"),
    ]
    workers: Count
    shard: Any


@dataclass(frozen=True)
class Job:
    """The views of one shape.

    Attributes:
        data: "unlabelled" or "labelled", the data set of the `data` group, or HELD_OUT, that of the test shapes.
        id: the shape.
        seed: of its cameras.
    """

    data: str
    id: str
    seed: int


@dataclass(frozen=True)
class Done:
    """What became of a job: the size of the file in bytes and whether it was there before; or why it was skipped."""

    job: Job
    bytes: int = 0
    was_there: bool = False
    skipped: str | None = None


def run_render(cfg: DictConfig) -> list[Done]:
    """Render what the view cache lacks of this shard; prints the size of the cache before (an estimate) and after.

    Raises:
        InputError: a bad setting, a bad shape under `data.on_error=raise`, too little room on the disk, or a worker that
            died. Finished files stay; the same call resumes after them.
    """
    check_config(cfg, RenderSettings)
    folder = views_folder(cfg)
    if folder is None:
        raise InputError("views.cache is not set: name the folder to render into, views.cache=FOLDER")
    cfg = OmegaConf.merge(cfg, {"views": {"cache": str(folder)}})  # type: ignore[assignment]
    index, count = shard(cfg.shard)
    jobs = plan(cfg)[index::count]
    views = f"{cfg.views.count} views of {cfg.views.size}x{cfg.views.size}, {cfg.views.layers} layer(s)"
    print(f"shard {index} of {count}: {len(jobs)} shapes x {views} -> {cfg.views.cache}", flush=True)
    step = max(1, len(jobs) // TRIALS)
    first = jobs[::step][:TRIALS]
    results = list(_render(cfg, first, workers=1))
    _estimate(cfg, results, len(jobs))
    remaining = [job for job in jobs if job not in set(first)]
    for finished in _render(cfg, remaining, cfg.workers):
        results.append(finished)
        if len(results) % 100 == 0:
            print(f"{len(results)}/{len(jobs)} shapes", flush=True)
    _report(cfg, results)
    return results


def plan(cfg: DictConfig) -> list[Job]:
    """The shapes that the stages look at and the seeds of their cameras, each once, in the order of the stages."""
    jobs: list[Job] = []
    if "pretrain" in cfg.stages:
        shapes = make_shape_set(cfg.data.unlabelled)
        ids = shapes.ids(cfg.data.pretrain_split)[: cfg.data.pretrain_limit]
        jobs += [Job("unlabelled", id, seed_of_training_views(cfg, id)) for id in ids]
    labelled = make_store(cfg, cfg.data.labelled) if set(cfg.stages) & {"finetune", "evaluate"} else None
    if labelled is not None and "finetune" in cfg.stages:
        for ids in _few_shot_ids(cfg, labelled):
            jobs += [Job("labelled", id, seed_of_training_views(cfg, id)) for id in ids]
            jobs += [Job("labelled", id, seed_of_calibration_views(cfg, id)) for id in ids]
    if labelled is not None and "evaluate" in cfg.stages:
        ids = make_shape_set(held_out_data(cfg)).ids(cfg.evaluation.split)[: cfg.evaluation.limit]
        jobs += [Job(HELD_OUT, id, seed_of_test_views(cfg, id)) for id in ids]
    return list(dict.fromkeys(jobs))


def shard(setting: str | None) -> tuple[int, int]:
    """Which part of how many: from the setting "i/n", else from torchrun or a SLURM array, else the whole.

    Raises:
        InputError: for a setting that is not i/n with 0 <= i < n.
    """
    if setting is not None:
        part, _, parts = str(setting).partition("/")
        if not (part.isdecimal() and parts.isdecimal() and int(part) < int(parts)):
            raise InputError(f"shard={setting}: give i/n, the i-th of n parts, counted from 0: shard=0/4")
        return int(part), int(parts)
    env = os.environ
    if "RANK" in env and "WORLD_SIZE" in env:
        return int(env["RANK"]), int(env["WORLD_SIZE"])
    if "SLURM_ARRAY_TASK_ID" in env and "SLURM_ARRAY_TASK_COUNT" in env:
        place_in_array = int(env["SLURM_ARRAY_TASK_ID"]) - int(env.get("SLURM_ARRAY_TASK_MIN", 0))
        return place_in_array // int(env.get("SLURM_ARRAY_TASK_STEP", 1)), int(env["SLURM_ARRAY_TASK_COUNT"])
    return 0, 1


def _few_shot_ids(cfg: DictConfig, shapes: ShapeStore) -> Iterator[list[str]]:
    """The labelled shapes of each run, in the order of its scenes; the training shapes are read once for all runs."""
    runs = [OmegaConf.merge(cfg, {"run": run}) for run in range(cfg.training.finetune.runs)]
    if cfg.training.finetune.split is not None:
        for run in runs:
            yield list(dict.fromkeys(split_run(cfg, shapes, run.run).shapes))
        return
    labels, _ = labels_by_shape(shapes, shapes.ids("train"), cfg.data.on_error)
    for run in runs:
        assert isinstance(run, DictConfig)
        yield list(dict.fromkeys(sample_run(run, labels, shapes.label_names).shapes))


def _render(cfg: DictConfig, jobs: list[Job], workers: int) -> Iterator[Done]:
    """Do the jobs, in this process or in several, which are started afresh (a fork of one with threads may hang)."""
    if workers == 1 or len(jobs) < 2:
        renderer = Renderer(cfg)
        yield from (renderer(job) for job in jobs)
        return
    config = OmegaConf.to_container(cfg, resolve=True)
    try:
        with ProcessPoolExecutor(min(workers, len(jobs)), worker_context(), _start_worker, (config,)) as pool:
            yield from pool.map(_work, jobs)
    except BrokenProcessPool as error:
        raise InputError(
            f"views.cache={cfg.views.cache}: a worker process died (killed, or the memory was full: then lower workers="
            f"{workers}); what was rendered stays, call again to go on"
        ) from error


class Renderer:
    """Does one job after another in one process."""

    def __init__(self, cfg: DictConfig) -> None:
        self._cfg = cfg
        self._rasterizer = make_rasterizer(cfg.views.rasterizer, _device(cfg))
        self._shapes = cache(
            lambda data_role: make_store(cfg, held_out_data(cfg) if data_role == HELD_OUT else cfg.data[data_role])
        )

    def __call__(self, job: Job) -> Done:
        """Render the views of a shape unless they are there."""
        cfg = self._cfg
        try:
            shape = self._shapes(job.data).load(job.id)
        except InputError as error:
            if cfg.data.on_error != "skip":
                raise
            return Done(job, skipped=str(error))
        cameras = place(cfg, shape, job.seed)
        file = CachedViews(cfg.views.cache, cfg.views.rasterizer, shape, cameras, cfg.views.layers)
        if file.exists():
            return Done(job, file.path.stat().st_size, was_there=True)
        return Done(job, file.write(self._rasterizer([shape], [cameras], cfg.views.layers)[0].face_ids))


_renderer: Renderer | None = None  # of a worker process


def _start_worker(config: Any) -> None:
    global _renderer
    torch.set_num_threads(1)
    _renderer = Renderer(OmegaConf.create(config))


def _work(job: Job) -> Done:
    assert _renderer is not None
    return _renderer(job)


def _device(cfg: DictConfig) -> str:
    """As in training, but a process of torchrun takes the GPU of its own number."""
    if cfg.device == "cpu" or not torch.cuda.is_available():
        return "cpu"
    if ":" in cfg.device:
        return cfg.device
    return f"cuda:{int(os.environ.get('LOCAL_RANK', 0)) % torch.cuda.device_count()}"


def _estimate(cfg: DictConfig, results: list[Done], shapes: int) -> None:
    sizes = [result.bytes for result in results if result.skipped is None]
    if not sizes:
        return
    total = sum(sizes) / len(sizes) * shapes
    missing = total * sum(not result.was_there for result in results) / len(results)
    print(f"estimated from {len(sizes)} shapes: {total / 1e6:.1f} MB in all", flush=True)
    free = shutil.disk_usage(Path(cfg.views.cache)).free
    if missing > free:
        raise InputError(
            f"views.cache={cfg.views.cache}: about {missing / 1e9:.1f} GB are to be written, but {free / 1e9:.1f} GB are "
            "free: name a folder with more room, or lower views.count or views.size"
        )


def _report(cfg: DictConfig, results: list[Done]) -> None:
    skipped = [result for result in results if result.skipped is not None]
    written = [result for result in results if result.skipped is None and not result.was_there]
    present, total = len(results) - len(skipped) - len(written), sum(result.bytes for result in results)
    views = max(1, (len(results) - len(skipped)) * cfg.views.count)
    print(
        f"{len(written)} shapes rendered, {present} were there, {len(skipped)} skipped: {total / 1e6:.1f} MB, "
        f"{total / views / 1e3:.1f} KB a view: {cfg.views.cache}"
    )
    for result in skipped:
        print(f"  {result.job.id}: {result.skipped}")
