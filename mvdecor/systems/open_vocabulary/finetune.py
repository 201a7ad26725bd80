"""Distillation: features of text and images on the frozen field, for the words of one scene (Liu et al. 2023, section 3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric, seed_everything
from torch import Tensor, nn
from torch.nn.functional import normalize
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from mvdecor.engine.distributed import rank, weight_of_share
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.fields.feature_field import FeatureField
from mvdecor.fields.feature_views import save_features
from mvdecor.fields.radiance_file import FILE as RADIANCE
from mvdecor.fields.taught_rays import PatchSource, PixelSource, TaughtRays
from mvdecor.files import write_atomically
from mvdecor.imports import make_object
from mvdecor.losses.distributions import affinity_loss, feature_loss, relevancy_loss
from mvdecor.seeds import seed_of
from mvdecor.systems.open_vocabulary.scene import Scene
from mvdecor.systems.open_vocabulary.settings import FinetuneSettings, OpenVocabularySettings

MEASURED_PIXELS = 4096
"""Pixels by which the spread of the cosines is measured."""


def step(
    model: nn.Module,
    batches: Mapping[str, TaughtRays],
    fabric: Fabric,
    text: Tensor,
    settings: FinetuneSettings,
    temperature: float,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The losses of a batch of rays and of a batch of patches."""
    rays, weights, text = batches["rays"], settings.weights, text.to(fabric.device)
    assert rays.features is not None and rays.relevancy is not None, "the source of rays teaches both"
    features, shares = model(rays.coordinates, rays.weights)
    if shares is None:
        shares = features.new_full(rays.features.shape[:2], 1 / rays.features.shape[1])
    feature = feature_loss(features, (shares[..., None] * rays.features).sum(dim=1))
    logits = normalize(features, dim=-1) @ text.T / temperature if settings.normalised else features @ text.T
    target = (shares[..., None] * rays.relevancy).sum(dim=1) / settings.relevancy_temperature
    relevancy = relevancy_loss(logits.softmax(dim=-1), target.softmax(dim=-1), settings.divergence)
    loss = weight_of_share(fabric, rays.share) * (weights.feature * feature + weights.relevancy * relevancy)
    figures = {"feature": feature, "relevancy": relevancy}
    if (patches := batches.get("patches")) is not None:
        assert patches.affinity is not None, "the source of patches gives affinities"
        features, _ = model(patches.coordinates, patches.weights)
        points = (normalize(features, dim=-1) @ text.T / temperature).softmax(dim=-1)
        points = points.unflatten(0, patches.affinity.shape[:2])
        affinity = affinity_loss(points, patches.affinity, weights.alike, weights.unlike, settings.divergence)
        loss = loss + weight_of_share(fabric, patches.share) * affinity
        figures["affinity"] = affinity
    yield loss, {"loss": loss, **figures}


def scales_of(scale: str | int, count: int) -> list[int]:
    """Indices of the scales that a setting chooses among `count`. Raises InputError if there are fewer."""
    if isinstance(scale, str):
        return [count - 1] if scale == "finest" else list(range(count))
    if scale >= count:
        raise InputError(f"training.finetune.scale={scale}: there are {count} scales (crops.parts), numbered from 0")
    return [scale]


def check_converged(scene: Scene, least: float) -> None:
    """Raise InputError if the PSNR of the field's held-out views is below a floor."""
    psnr = scene.record.get("psnr")
    if psnr is not None and psnr < least:
        raise InputError(
            f"{scene.cfg.checkpoint}: this field has not converged: {psnr:.1f} dB in its held-out views, below "
            f"training.finetune.least_psnr={least:g}. Check poses and bounds (docs/captures.md), take more radiance.steps, or "
            "lower the floor"
        )


def spread_of(features: Tensor, text: Tensor, quantile: float | None) -> float:
    """Distance of a quantile of the cosines of features [R, S, D] and words [C, D] from the opposite one; 1 without one."""
    if quantile is None:
        return 1.0
    cosines = (normalize(features, dim=-1) @ text.T).flatten()
    low, high = cosines.quantile(torch.tensor([1 - quantile, quantile])).tolist()
    return max(high - low, 1e-6)


def finetune(job: Job) -> dict[str, Any]:
    """Distil for `cfg.words`; writes `out/model` and `out/log`."""
    cfg, settings, fabric = job.cfg, OpenVocabularySettings.of(job.cfg).training.finetune, job.open_device()
    scene = Scene.of(cfg)
    check_converged(scene, settings.least_psnr)
    words, scales = scene.words(cfg.words), scales_of(settings.scale, len(scene.crops[0].embeddings))
    text, seed = scene.model.text_features(words), seed_of(cfg.seed, "distillation", scene.capture.id)
    print(f"{scene.capture.id}: {len(scene.views)} views, {len(words)} words", flush=True)
    source = PixelSource(scene.samples, scene.crops, scene.relevancies(words)[:, scales], scales, settings.rays)
    pixels = torch.randint(len(source.relevancy), (MEASURED_PIXELS,), generator=torch.Generator().manual_seed(seed))
    spread = spread_of(source.features(pixels), text, settings.temperature_quantile)
    sources: dict[str, Any] = {"rays": (source, "training.finetune.rays")}
    cosines: dict[str, Any] = {"spread": spread, "temperature": settings.temperature * spread}
    if settings.weights.alike or settings.weights.unlike:
        dense_image = make_object(cfg.dense_image, "dense_image")
        images = scene.capture.images(scene.views).permute(0, 3, 1, 2).float() / 255
        dense = [dense_image.dense_features(image) for image in images]
        sampling = settings.patch_points, settings.patch_span, settings.patches
        patches = PatchSource(scene.samples, dense, *sampling, settings.shift_quantile, settings.shift, seed)
        sources["patches"] = (patches, "training.finetune.patches")
        cosines |= {"shift": patches.shift, "quartiles": patches.quartiles}
    memory = {
        "samples": scene.samples.bytes,
        "relevancies": source.relevancy.nbytes,
        "features": 0 if source.table is None else source.table.nbytes,
        "crops_per_view": sum(crops.bytes for crops in scene.crops) // len(scene.crops),
    }
    print_measured(cosines, memory, scene.samples.lost)
    seed_everything(seed, verbose=False)
    arguments = {"dimension": text.shape[1], "scales": len(scales) if settings.scale == "selection" else 0}
    features = FeatureField(scene.field, **arguments)
    recipe = Recipe(
        "distil",
        settings.steps,
        lambda weights: torch.optim.Adam(features.groups(settings.grid_rate, settings.head_rate), betas=(0.9, 0.99)),
        make_schedule(settings.schedule),
        seed,
    )
    losses = partial(step, fabric=fabric, text=text, settings=settings, temperature=cosines["temperature"])
    history = train(job.loop(fabric), recipe, features, sources, losses)
    if rank() == 0:
        model = job.out / "model"
        write_atomically(model / RADIANCE, Path(cfg.checkpoint, RADIANCE).read_bytes())
        record = {"words": words, "temperature": cosines["temperature"], "capture": scene.capture.id, **job.provenance}
        save_features(model, features, arguments, record)
    print(f"training loss {history.steps[-1]['loss']:.4f} after {settings.steps} steps: {job.out}/model", flush=True)
    return {
        "words": words,
        "cosines": cosines,
        "memory": memory,
        "lost_light": scene.samples.lost,
        "history": history.steps,
    }


def recreated(optimizer: Optimizer, steps: int, *, step: int, last: float = 0.1) -> LRScheduler:
    """A schedule as the released code has it: rates fall to `last` of theirs, and at a step the optimizer is made anew.

    It then has no moments, and the first rates again, of which the decay so far is lost.
    """

    def factor(number: int) -> float:
        if number == step:
            optimizer.state.clear()
        return last ** ((number - step if number >= step else number) / steps)

    return LambdaLR(optimizer, factor)


def print_measured(cosines: Mapping[str, Any], memory: Mapping[str, int], lost: float) -> None:
    """Say what temperature and shift follow from, and the memory that is taken."""
    megabytes = {name: f"{size / 1e6:.2f} MB" for name, size in memory.items()}
    print(
        f"cosines of pixels and words spread over {cosines['spread']:.3f}: temperature {cosines['temperature']:.4f}\n"
        f"strongest samples of all rays {megabytes['samples']}, {100 * lost:.2f} % of the light lost; relevancies "
        f"{megabytes['relevancies']}; features {megabytes['features']}; crops {megabytes['crops_per_view']} per view",
        flush=True,
    )
    if "shift" in cosines:
        quartiles = ", ".join(f"{x:.2f}" for x in cosines["quartiles"])
        print(f"cosines of pairs of pixels: quartiles {quartiles}; shift {cosines['shift']:.3f}", flush=True)
