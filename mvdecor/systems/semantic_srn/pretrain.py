"""Pretraining: codes, hypernetwork, renderer and generator from posed images (Kohli et al. 2020, section 3.1)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from torch import Tensor, nn
from torch.optim import Optimizer

from mvdecor.captures import RayBatch, RaySource, make_capture_set
from mvdecor.engine.distributed import rank, weight_of_mean, weight_of_share
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.fields import ConditionalField, FieldSettings, LossWeights, losses_of, save_field
from mvdecor.seeds import seed_of
from mvdecor.systems.semantic_srn.settings import PretrainSettings


def step(
    model: nn.Module, batches: Mapping[str, RayBatch], fabric: Fabric, weights: LossWeights
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The weighted losses of a batch of rays, and each of them."""
    batch = batches["rays"]
    of_share = weight_of_share(fabric, batch.share)
    losses = {name: of_share * value for name, value in losses_of(model(batch.objects, *batch.rays), batch).items()}
    if batch.distance is not None:
        losses["depth"] = losses["depth"] / of_share * weight_of_mean(fabric, (batch.distance > 0).sum())
    weighted = [weight * losses[name] for name, weight in weights.model_dump().items() if weight > 0]
    loss = torch.stack(weighted).sum()
    yield loss, {"loss": loss, "psnr": -10 * losses["rgb"].log10(), **losses}


def make_optimizer(weights: Iterable[nn.Parameter], settings: PretrainSettings, codes: Tensor) -> Optimizer:
    """The optimizer, with another rate for the codes."""
    shared, rate = [weight for weight in weights if weight is not codes], settings.learning_rate
    groups = [{"params": shared}, {"params": [codes], "lr": rate * settings.code_rate}]
    return instantiate(settings.optimizer, _partial_=True, lr=rate)(groups)


def check_truth(source: RaySource, weights: LossWeights) -> None:
    """Refuse losses that the captures have no truth for, by the first one."""
    capture = source.capture(source.ids[0])
    available = {"mask": ("an alpha channel or masks", capture.has_alpha), "depth": ("depth", capture.has_depth)}
    for name, (truth, is_there) in available.items():
        if (weight := getattr(weights, name)) > 0 and not is_there:
            setting = f"training.pretrain.weights.{name}={weight:g}"
            raise InputError(f"{setting}, but capture {capture.id} has no {truth}: set it to 0")


def pretrain(job: Job) -> dict:
    """Pretrain on captures without labels; writes `out/model` and `out/log`."""
    cfg, settings = job.cfg, PretrainSettings.of(job.cfg.training.pretrain)
    fabric, captures = job.open_device(), make_capture_set(job.cfg.capture)
    ids = captures.ids(settings.split)[: settings.limit]
    if not ids:
        raise InputError(f"split {settings.split!r} holds no capture: see training.pretrain.split")
    names = ("rays", "foreground", "outline", "views_at_once", "mirrored", "coarse_steps", "coarse_factor")
    source = RaySource(captures, ids, settings.objects, **{name: getattr(settings, name) for name in names})
    check_truth(source, settings.weights)
    print(f"seed {cfg.seed}: pretraining on {len(ids)} captures", flush=True)
    seed = seed_of(cfg.seed, "pretraining")
    seed_everything(seed, verbose=False)
    objects = [*ids, *(f"{id} mirrored" for id in ids if settings.mirrored)]
    field = ConditionalField(FieldSettings.of(cfg.field), len(objects))
    field.codes.sparse = settings.sparse_codes
    optimizer = partial(make_optimizer, settings=settings, codes=field.codes.weight)
    recipe = Recipe("pretrain", settings.steps, optimizer, make_schedule(settings.schedule), seed, clip=settings.clip)
    sources = {"rays": (source, "training.pretrain.objects")}
    history = train(job.loop(fabric), recipe, field, sources, partial(step, fabric=fabric, weights=settings.weights))
    if rank() == 0:
        save_field(job.out / "model", field, {"ids": objects, "label_names": [], **job.provenance})
    print(f"training loss {history.steps[-1]['loss']:.4f}: {job.out}/model", flush=True)
    return {"captures": ids, "history": history.steps}
