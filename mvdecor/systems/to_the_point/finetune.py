"""Fine-tuning: photographs with masks and, if there are any, keypoints; renders of the template are mixed into every batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from hydra.utils import instantiate
from lightning_fabric import Fabric, seed_everything
from torch import Tensor, nn

from mvdecor.captures.photo_batches import PhotoBatch, PhotoSource
from mvdecor.captures.photographs import load_photographs
from mvdecor.captures.render_settings import RendersSettings
from mvdecor.captures.template_renders import TemplateRenders
from mvdecor.captures.warps import warp_images
from mvdecor.engine.distributed import rank, weight_of_mean, weight_of_share
from mvdecor.engine.loop import Recipe, train
from mvdecor.engine.schedules import make_schedule
from mvdecor.engine.stage import Job
from mvdecor.errors import InputError
from mvdecor.losses.masks import coverage_loss, mask_loss, outside_loss
from mvdecor.losses.meshes import arap_loss, deformation_loss, edge_length_loss, laplacian_loss, reprojection_loss
from mvdecor.losses.positions import equivariance_loss, keypoint_loss, visibility_loss
from mvdecor.losses.texture import texture_loss
from mvdecor.seeds import seed_of
from mvdecor.solvers import Fit
from mvdecor.systems.to_the_point.model import Reconstructor, Solved, load_model, save_model
from mvdecor.systems.to_the_point.photos import photographs_of
from mvdecor.systems.to_the_point.pretrain import render_losses, with_mirror_images
from mvdecor.systems.to_the_point.settings import FinetuneSettings
from mvdecor.views import make_rasterizer
from mvdecor.views.silhouette import soft_silhouette
from mvdecor.views.tiles import rasterize_poses
from mvdecor.views.visibility import pixel_weights, visible_vertices


def seen_faces(model: Reconstructor, vertices: Tensor, fit: Fit, size: int) -> Tensor:
    """int [S, size, size], the face that each pixel sees of the template with its vertices at [S, V, 3]; -1 = none."""
    positions = fit.project(vertices).detach().float()
    template = model.template.shape.to(positions.device)
    return rasterize_poses(make_rasterizer("auto", positions.device), template, positions, size)


@dataclass(frozen=True)
class Objective:
    """The losses of photographs.

    Attributes:
        settings: the group `training.finetune`.
        model: not wrapped, for its constants.
    """

    settings: FinetuneSettings
    model: Reconstructor

    def __call__(self, solved: Solved, photos: PhotoBatch) -> dict[str, Tensor]:
        """float [B] each, of the photographs, which `solved` begins with; their moved copies follow them."""
        weights, model, count = self.settings.weights, self.model, len(photos.images)
        positions, logits, fit = solved.positions[:count], solved.logits[:count], solved.fit
        visible, vertices = logits.sigmoid().detach(), model.deformed(fit)
        flat = fit.project(vertices)[..., :2]
        template, faces, edges, cotangents = model.vertices, model.faces, model.edges, model.cotangents
        size = photos.images.shape[-1]
        losses = {
            "coverage": coverage_loss(photos.points, positions),
            "outside": outside_loss(positions, photos.distances, torch.ones_like(visible)),
            "reprojection": reprojection_loss(positions, flat, visible),
            "edges": edge_length_loss(positions, flat, edges, visible),
            "deformation": deformation_loss(vertices, template),
            "laplacian": laplacian_loss(vertices - template, edges, cotangents),
        }
        if weights.mask > 0:
            losses["mask"] = mask_loss(
                soft_silhouette((flat + 1) * (size / 2), faces, size, size, self.settings.sigma), photos.masks
            )
        if weights.arap > 0:
            losses["arap"] = arap_loss(vertices, template, edges, cotangents)
        if weights.equivariance > 0:
            copies = solved.positions[count : 2 * count]
            losses["equivariance"] = equivariance_loss(copies, positions, photos.matrices, model.mirror)
        if weights.visibility > 0 or weights.texture > 0:
            face_ids = seen_faces(model, vertices, fit, size)
            losses["visibility"] = visibility_loss(logits, visible_vertices(face_ids, faces, visible.shape[1]))
            if weights.texture > 0:
                corners, shares = pixel_weights(face_ids, faces, flat.detach())
                by_colour = self.settings.texture == "colours"
                features = photos.images if by_colour else model.regressor.features(photos.images)
                losses["texture"] = texture_loss(features, positions, corners, shares)
        if self.settings.keypoints:
            keypoints = model.keypoint_vertices
            losses["keypoints"] = keypoint_loss(flat[:, keypoints], photos.keypoints)
            losses["keypoints"] = losses["keypoints"] + keypoint_loss(positions[:, keypoints], photos.keypoints)
        return losses


def step(
    model: nn.Module, batches: Mapping[str, Any], fabric: Fabric, objective: Objective
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """The weighted losses of a batch of photographs, their moved copies, and renders; failed fits have no weight."""
    photos, renders, weights = batches["photographs"], batches.get("renders"), objective.settings.weights
    if renders is not None and objective.settings.mirror:
        renders = with_mirror_images(objective.model, renders)
    images = [photos.images]
    if weights.equivariance > 0:
        images.append(warp_images(photos.images, photos.matrices))
    if renders is not None:
        images.append(renders.images)
    solved = model(torch.cat(images), len(photos.images))
    valid = solved.fit.converged.float()
    weight = weight_of_mean(fabric, valid.sum()) / valid.sum().clamp_min(1)
    losses = {name: (x * valid).sum() * weight for name, x in objective(solved, photos).items()}
    bare = objective.model
    losses["basis"] = laplacian_loss(bare.basis, bare.edges, bare.cotangents).mean()
    if weights.basis_arap > 0:
        bent = bare.vertices + bare.basis
        losses["basis_arap"] = arap_loss(bent, bare.vertices, bare.edges, bare.cotangents).mean()
    if renders is not None:
        of_renders = Solved(*(x[-len(renders.images) :] for x in solved[:2]), *solved[2:])
        parts = render_losses(of_renders, renders)
        of_share = weight_of_share(fabric, renders.share)
        losses["renders"] = of_share * (parts["positions"] + 0.1 * parts["visibility"]).mean()
    factors = weights.model_dump()
    loss = torch.stack([factors[name] * x for name, x in losses.items() if factors[name] > 0]).sum()
    yield loss, {"loss": loss, "converged": valid.mean(), **losses}


def finetune(job: Job) -> dict:
    """Train `cfg.checkpoint` on photographs; writes `out/model` and `out/log`."""
    cfg, settings = job.cfg, FinetuneSettings.of(job.cfg.training.finetune)
    fabric = job.open_device()
    model, _ = load_model(cfg.checkpoint)
    model.settings = model.settings.model_copy(
        update={"solver": type(model.settings.solver).of(cfg.reconstructor.solver, "reconstructor.solver")}
    )
    template, size = model.template, model.settings.size
    if settings.keypoints and not template.keypoints:
        raise InputError("training.finetune.keypoints=true, but the template has no keypoints: give template.keypoints")
    photographs, ids = photographs_of(cfg, settings.split, settings.limit)
    usable, skipped = load_photographs(photographs, ids)
    ids = [photograph.id for photograph in usable]
    for id, reason in skipped.items():
        print(f"warning: {id} is left out: {reason}", flush=True)
    symmetric = template.mirror is not None
    names = list(template.keypoints) if settings.keypoints else []
    source = PhotoSource(
        photographs,
        ids,
        names,
        size,
        settings.batch_size,
        settings.jitter,
        settings.points,
        mirror=symmetric,
        mirrored=symmetric and settings.mirror,
    )
    print(f"seed {cfg.seed}: {len(source.ids)} photographs, {len(names)} keypoints", flush=True)
    if not symmetric and (settings.mirror or settings.weights.equivariance > 0):
        print("note: the template has no plane of symmetry: no photograph or copy of one is mirrored", flush=True)
    seed = seed_of(cfg.seed, cfg.run, "fine-tuning")
    seed_everything(seed, verbose=False)
    sources: dict[str, Any] = {"photographs": (source, "training.finetune.batch_size")}
    if settings.weights.renders > 0:
        renders = TemplateRenders(template, size, settings.renders, RendersSettings.of(cfg.renders).make())
        sources["renders"] = (renders, "training.finetune.renders")
    model.basis.requires_grad_(model.settings.solver.kind != "rigid")
    optimizer = instantiate(settings.optimizer, _partial_=True, lr=settings.learning_rate)
    recipe = Recipe("finetune", settings.steps, optimizer, make_schedule(settings.schedule), seed, clip=settings.clip)
    objective = Objective(settings, model)
    history = train(job.loop(fabric), recipe, model, sources, partial(step, fabric=fabric, objective=objective))
    if rank() == 0:
        save_model(job.out / "model", model, {**job.provenance, "keypoints_used": names})
    print(f"training loss {history.steps[-1]['loss']:.3f} after {settings.steps} steps: {job.out}/model", flush=True)
    return {"photographs": ids, "skipped": skipped, "keypoints": names, "history": history.steps}
