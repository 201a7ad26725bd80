"""Pretraining (warm-up): positions and visibilities of a template's vertices in renders of it. No photograph is seen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from omegaconf import DictConfig
from torch import Tensor, nn

from mvdecor.captures.render_settings import RendersSettings
from mvdecor.captures.template_renders import RenderBatch, TemplateRenders
from mvdecor.engine.distributed import rank, weight_of_share
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.losses.positions import position_loss, visibility_loss
from mvdecor.seeds import seed_of
from mvdecor.shapes.deformations import principal_deformations
from mvdecor.shapes.template import read_template
from mvdecor.systems.to_the_point.model import Reconstructor, Solved, save_model
from mvdecor.systems.to_the_point.settings import (
    PretrainSettings,
    ReconstructorSettings,
    TemplateSettings,
)

HIDDEN = 0.3
"""Weight of a hidden vertex's position beside a visible one's."""


def render_losses(solved: Solved, renders: RenderBatch) -> dict[str, Tensor]:
    """float [B] each: how far positions and visibilities of renders are from the truth."""
    weights = HIDDEN + (1 - HIDDEN) * renders.visible
    return {
        "positions": position_loss(solved.positions, renders.positions, weights),
        "visibility": visibility_loss(solved.logits, renders.visible),
    }


def with_mirror_images(model: Reconstructor, renders: RenderBatch) -> RenderBatch:
    """Renders with the mirror image of each; as they are, if the template is not symmetric."""
    mirror = model.template.mirror
    if mirror is None or model.mirror is None:
        return renders
    return renders.with_mirror_images(*model.mirror, mirror.axis)


def step(
    model: nn.Module,
    batches: Mapping[str, RenderBatch],
    fabric: Fabric,
    settings: PretrainSettings,
    bare: Reconstructor,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The losses of a batch of renders; `bare` is the model without the wrapping of several processes."""
    renders = batches["renders"]
    if settings.mirror:
        renders = with_mirror_images(bare, renders)
    weight = weight_of_share(fabric, renders.share)
    losses = {name: weight * x.mean() for name, x in render_losses(model(renders.images, 0), renders).items()}
    loss = losses["positions"] + settings.visibility * losses["visibility"]
    yield loss, {"loss": loss, **losses}


def untrained(cfg: DictConfig) -> Reconstructor:
    """The model before the pretraining: random weights (seed them before), the principal components of random deformations."""
    files, renders = TemplateSettings.of(cfg.template), RendersSettings.of(cfg.renders).make()
    template, network = read_template(files.file, files.keypoints), ReconstructorSettings.of(cfg.reconstructor)
    generator = torch.Generator().manual_seed(seed_of(cfg.seed, "basis"))
    return Reconstructor(
        network, template, principal_deformations(template, renders.deformations, network.basis, generator)
    )


def pretrain(job: Job) -> dict:
    """Train on renders of the template; writes `out/model` and `out/log`."""
    cfg, settings = job.cfg, PretrainSettings.of(job.cfg.training.pretrain)
    fabric = job.open_device()
    seed = seed_of(cfg.seed, "pretraining")
    seed_everything(seed, verbose=False)
    model = untrained(cfg)
    template, renders = model.template, RendersSettings.of(cfg.renders).make()
    symmetric = "symmetric" if template.mirror is not None else "not symmetric: it trains without mirrored copies"
    print(f"seed {cfg.seed}: template of {len(template.shape.vertices)} vertices, {symmetric}", flush=True)
    model.basis.requires_grad_(False)
    optimizer = instantiate(settings.optimizer, _partial_=True, lr=settings.learning_rate)
    recipe = Recipe("pretrain", settings.steps, optimizer, make_schedule(settings.schedule), seed, clip=settings.clip)
    source = TemplateRenders(template, model.settings.size, settings.batch_size, renders)
    sources = {"renders": (source, "training.pretrain.batch_size")}
    history = train(
        job.loop(fabric), recipe, model, sources, partial(step, fabric=fabric, settings=settings, bare=model)
    )
    if rank() == 0:
        save_model(job.out / "model", model, job.provenance)
    print(f"training loss {history.steps[-1]['loss']:.4f}: {job.out}/model", flush=True)
    return {"template": template.shape.id, "vertices": len(template.shape.vertices), "history": history.steps}
