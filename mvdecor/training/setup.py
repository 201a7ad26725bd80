"""From the configuration to what the loops take: device, shapes, scenes and sources of batches."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from lightning_fabric.strategies import DDPStrategy
from omegaconf import DictConfig, OmegaConf

from mvdecor.errors import InputError
from mvdecor.shapes import Shape, ShapeSet, load_shapes
from mvdecor.shapes.splits import FewShotRun
from mvdecor.training.batches import LabelledSource, PairSource, Rendering
from mvdecor.training.crops import CropPairSource
from mvdecor.training.distributed import processes
from mvdecor.training.scenes import Scenes
from mvdecor.views import CachedViews, Cameras, make_rasterizer, place_cameras, rasterizer_name

PACKAGES = ("torch", "torchvision", "lightning-fabric", "segmentation-models-pytorch", "timm", "trimesh", "numpy")
"""Those that a result may depend on."""


def make_fabric(cfg: DictConfig, unused_weights: bool = False) -> Fabric:
    """Device, precision and processes of a stage; also seeds the initial weights.

    Args:
        cfg: the configuration.
        unused_weights: some passes of the training do not use all weights, which several processes must know.

    Raises:
        InputError: for a device that is not there or an unknown precision.
    """
    fabric = open_device(cfg.device, cfg.precision, unused_weights)
    seed_everything(cfg.seed, verbose=False)
    return fabric


def open_device(device: str = "auto", precision: str = "auto", unused_weights: bool = False) -> Fabric:
    """Device, precision and the processes that torchrun started; nothing is seeded.

    Raises:
        InputError: for a device that is not there or an unknown precision.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"device={device!r} is unknown: choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device=cuda, but PyTorch sees no CUDA device here: use device=cpu or auto")
    accelerator = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    chosen = precision
    if precision == "auto":
        chosen = "bf16-mixed" if accelerator == "cuda" or _cpu_has_bfloat16() else "32-true"
    here = int(os.environ["LOCAL_WORLD_SIZE"]) if processes() > 1 else 1  # on this machine
    if accelerator == "cuda" and here > torch.cuda.device_count():
        raise InputError(
            f"{here} processes, but PyTorch sees {torch.cuda.device_count()} CUDA devices: start one for each "
            "(torchrun --nproc_per_node), or use device=cpu"
        )
    # batch norms agree by themselves, and a pass that not all processes make must not wait for the others
    several = DDPStrategy(broadcast_buffers=False, find_unused_parameters=unused_weights)
    strategy = several if processes() > 1 else "auto"
    try:
        fabric = Fabric(
            accelerator=accelerator,
            strategy=strategy,
            devices=here,
            num_nodes=processes() // here,
            precision=chosen,  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise InputError(f"precision={precision!r}: {error}") from error
    if processes() > 1:
        fabric.launch()
    return fabric


def _cpu_has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16 in hardware; elsewhere it is slower than float32."""
    return any(flag in _cpuinfo() for flag in ("avx512_bf16", "amx_bf16"))


def _cpuinfo() -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""


def _processor() -> str:
    names = [line.partition(":")[2].strip() for line in _cpuinfo().splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def make_shape_set(node: DictConfig) -> ShapeSet:
    """Instantiate a data set of the `data` group; its own error is shown instead of Hydra's around it."""
    try:
        return instantiate(node)
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(f"data: {error}") from error


def drawing_device(cfg: DictConfig, fabric: Fabric) -> torch.device:
    """Where a training's views are drawn: on its device, or on the CPU by workers."""
    return torch.device("cpu") if cfg.workers > 0 else fabric.device


def pretraining_shapes(cfg: DictConfig) -> tuple[list[Shape], list[tuple[str, str]]]:
    """The shapes to pretrain on, and those skipped with their reasons."""
    shape_set = make_shape_set(cfg.data.unlabelled)
    ids = shape_set.ids(cfg.data.pretrain_split)[: cfg.data.pretrain_limit]
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


def evaluation_seed(cfg: DictConfig, number: int = 0) -> int:
    """Seed of the cameras of test shape `number`: far from those of training, which count from `cfg.seed`."""
    return cfg.seed + 1_000_000 + number


def calibration_seed(cfg: DictConfig) -> int:
    """Seed of the cameras of `calibrate`: far from those of the training and of the evaluation."""
    return cfg.seed + 2_000_000


def make_scenes(cfg: DictConfig, shapes: Sequence[Shape], seed: int, device: torch.device) -> Scenes:
    """The shapes with their cameras and views on a device; views come from the folder `views.cache` if there is one."""
    rasterizer = make_rasterizer(cfg.views.rasterizer, device)
    name = rasterizer_name(cfg.views.rasterizer, device)
    cache = None if cfg.views.cache is None else partial(CachedViews, cfg.views.cache, name)
    return Scenes(shapes, partial(place, cfg), rasterizer, cfg.views.layers, seed, device, cfg.views.keep, cache)


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
    cfg: DictConfig, shapes: Sequence[Shape], chosen: FewShotRun, device: torch.device
) -> LabelledSource:
    """Batches of the labelled views of a few-shot draw; a shape drawn twice is one scene, drawn from twice as often."""
    scenes = make_scenes(cfg, list({s.id: s for s in shapes}.values()), cfg.seed, device)
    numbers = {s.id: i for i, s in enumerate(scenes.shapes)}
    views = [chosen.views_of(s.id, scenes.num_views(i)) for i, s in enumerate(scenes.shapes)]
    rendering = make_rendering(cfg, augment="finetune")
    return LabelledSource(scenes, rendering, views, cfg.training.finetune.batch_size, [numbers[s.id] for s in shapes])


def make_pair_source(
    cfg: DictConfig,
    scenes: Scenes,
    pairs: int,
    augment: Literal["pretrain", "finetune"] | None = None,
) -> PairSource:
    """Batches of overlapping pairs of the scenes' views."""
    matching = cfg.training.matching
    return PairSource(
        scenes,
        make_rendering(cfg, augment),
        pairs=pairs,
        points=cfg.training.pretrain.points,
        min_overlap=matching.min_overlap,
        tolerance=matching.tolerance,
        min_cosine=matching.min_cosine,
        tries=matching.tries,
        unique=matching.unique,
        replace=cfg.training.pretrain.replace,
    )


def make_crop_source(
    cfg: DictConfig, scenes: Scenes, pairs: int, augment: Literal["pretrain", "finetune"] | None = None
) -> CropPairSource:
    """Batches of pairs of crops of the scenes' views (`training.crops`)."""
    matching, crops = cfg.training.matching, cfg.training.crops
    return CropPairSource(
        scenes,
        replace(make_rendering(cfg, augment), colour_jitter=crops.colour_jitter if augment else 0.0),
        pairs=pairs,
        points=cfg.training.pretrain.points,
        min_overlap=matching.min_overlap,
        tries=matching.tries,
        scale=tuple(crops.scale),
        ratio=tuple(crops.ratio),
        flip=crops.flip,
    )


def provenance(cfg: DictConfig) -> dict:
    """What a result needs beside it to be believed: the configuration, the code's revision, the machine."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() and cfg.device != "cpu" else "cpu"
    return {
        "config": OmegaConf.to_container(cfg, resolve=True),
        "revision": revision(),
        "machine": {
            "device": device,
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "processes": processes(),
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
        },
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # used from a folder, not installed
        return "unknown"


def revision() -> str:
    """The code's git revision, with "-dirty" if files were changed since; "unknown" outside a checkout."""
    try:
        return _git("rev-parse", "HEAD").strip() + ("-dirty" if code_changes() else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def code_changes() -> str:
    """What was changed in the code since its revision, as a patch; empty if nothing was, or outside a checkout."""
    try:
        return _git("diff", "HEAD")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _git(*words: str) -> str:
    root = Path(__file__).resolve().parents[2]
    return subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=True).stdout


def peak_memory_gb() -> dict[str, float]:
    """Largest memory of this process so far, in GB: of the host and, if used, of the GPU."""
    peak = {"host": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}
    if torch.cuda.is_available():
        peak["gpu"] = torch.cuda.max_memory_allocated() / 1e9
    return peak
