"""Codes of captures that the field was not trained on, from some of their views or label maps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from omegaconf import DictConfig
from torch import Tensor

from mvdecor.captures import Capture, RayBatch, pixel_rays, sample_pixels
from mvdecor.errors import InputError
from mvdecor.fields import ConditionalField, Rendered, infer_codes, labels_loss, nearest_codes, opacity_loss
from mvdecor.seeds import seed_of
from mvdecor.shapes.fewshot import sample_views

FOREGROUND = 0.5
"""Share of the rays of a step that see the object."""


def given_views(cfg: DictConfig, capture: Capture) -> list[int]:
    """The views that a capture's code is inferred from.

    Raises:
        InputError: a view is not there, or has no label map where those are given.
    """
    settings = cfg.evaluation
    views = list(capture.labelled) if settings.source == "labels" else list(range(len(capture)))
    if settings.views is not None:
        if missing := sorted(set(settings.views) - set(views)):
            kind = "label map of view" if settings.source == "labels" else "view"
            raise InputError(f"evaluation.views: capture {capture.id} has no {kind} {missing[0]}")
        return list(settings.views)
    if settings.v is None:
        return views
    if settings.v > len(views):
        raise InputError(f"evaluation.v={settings.v}: capture {capture.id} has {len(views)} {settings.source}")
    return [views[i] for i in sample_views(len(views), settings.v, seed_of(cfg.seed, "given views", capture.id))]


def loss_of(field: ConditionalField, cfg: DictConfig, rendered: Rendered, batch: RayBatch) -> Tensor:
    """float32 [B], how far what each object's rays show is from what was given."""
    if cfg.evaluation.source == "labels":
        assert batch.labels is not None, "label maps are given"
        labels = batch.labels.expand(len(rendered.rgb), -1)
        return labels_loss(field.label_logits(rendered.hits), labels).mean(dim=-1)
    loss = (rendered.rgb - batch.rgb).square().mean(dim=(1, 2))
    if batch.mask is not None and cfg.evaluation.mask > 0:
        mask = batch.mask.expand(len(rendered.rgb), -1)
        loss = loss + cfg.evaluation.mask * opacity_loss(rendered.opacity, mask).mean(dim=-1)
    return loss


def infer(cfg: DictConfig, field: ConditionalField, captures: Sequence[Capture], views: Sequence[list[int]]) -> Tensor:
    """Codes float32 [B, Z] of captures, each from its `views`; an object's code does not depend on those beside it."""
    settings, device = cfg.evaluation, field.codes.weight.device

    def sampled(capture: Capture, input_views: list[int], rays: int, *purpose: object) -> RayBatch:
        generator = torch.Generator().manual_seed(seed_of(cfg.seed, "code", capture.id, *purpose))
        pixels = sample_pixels(capture, input_views, rays, FOREGROUND, generator)
        return pixel_rays(capture, input_views, pixels, labels=settings.source == "labels")

    starts = []
    for capture, input_views in zip(captures, views, strict=True):
        if settings.search == 0:
            starts.append(field.mean_code().detach())
            continue
        batch = sampled(capture, input_views, settings.search, "start").to(device)
        nearest = nearest_codes(field, partial(loss_of, field, cfg, batch=batch), batch.rays)
        starts.append(field.codes.weight[nearest].detach())
    current: dict[int, RayBatch] = {}

    def rays(step: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        current.clear()
        batches = [sampled(*pair, settings.rays, step) for pair in zip(captures, views, strict=True)]
        current[step] = RayBatch.cat(batches).to(device)
        return current[step].rays

    return infer_codes(
        field,
        torch.stack(starts),
        lambda rendered, step: loss_of(field, cfg, rendered, current[step]),
        rays,
        settings.steps,
        settings.learning_rate,
        settings.prior,
    )
