"""Codes of new objects: only the code moves, the field stays as it is (Kohli et al. 2020, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from mvdecor.captures.capture import Capture
from mvdecor.captures.ray_batches import RayBatch, pixel_rays, sample_pixels
from mvdecor.fields.field import ConditionalField, Rendered
from mvdecor.fields.losses import labels_loss, opacity_loss
from mvdecor.fields.settings import InferenceSettings
from mvdecor.seeds import seed_of

RAYS = tuple[Tensor, Tensor, Tensor, Tensor]
"""Origins and directions float32 [B, R, 3], near and far float32 [B, R]."""
CHUNK = 32_768
"""Points at which a field is asked together where no gradient is needed."""


def codes_of_captures(
    field: ConditionalField,
    captures: Sequence[Capture],
    views: Sequence[list[int]],
    settings: InferenceSettings,
    seed: int,
) -> Tensor:
    """Codes float32 [B, Z] of captures, each from its `views`; an object's code does not depend on those beside it."""
    device = field.codes.weight.device

    def sampled(capture: Capture, input_views: list[int], rays: int, *purpose: object) -> RayBatch:
        generator = torch.Generator().manual_seed(seed_of(seed, "code", capture.id, *purpose))
        pixels = sample_pixels(capture, input_views, rays, settings.foreground, generator, settings.outline)
        return pixel_rays(capture, input_views, pixels, labels=settings.source == "labels")

    starts = []
    for capture, input_views in zip(captures, views, strict=True):
        if settings.search == 0:
            starts.append(field.mean_code().detach())
            continue
        batch = sampled(capture, input_views, settings.search, "start").to(device)
        nearest = nearest_codes(field, partial(loss_of_given, field, settings, batch=batch), batch.rays)
        starts.append(field.codes.weight[nearest].detach())
    current: dict[int, RayBatch] = {}

    def rays(step: int) -> RAYS:
        current.clear()
        batches = [sampled(*pair, settings.rays, step) for pair in zip(captures, views, strict=True)]
        current[step] = RayBatch.cat(batches).to(device)
        return current[step].rays

    def loss(rendered: Rendered, step: int) -> Tensor:
        return loss_of_given(field, settings, rendered, current[step])

    start = torch.stack(starts)
    return infer_codes(field, start, loss, rays, settings.steps, settings.learning_rate, settings.prior)


def loss_of_given(field: ConditionalField, settings: InferenceSettings, rendered: Rendered, batch: RayBatch) -> Tensor:
    """float32 [B], how far what each object's rays show is from what was given."""
    if settings.source == "labels":
        assert batch.labels is not None, "label maps are given"
        labels = batch.labels.expand(len(rendered.rgb), -1)
        return labels_loss(field.label_logits(rendered.hits), labels).mean(dim=-1)
    loss = (rendered.rgb - batch.rgb).square().mean(dim=(1, 2))
    if batch.mask is not None and settings.mask > 0:
        mask = batch.mask.expand(len(rendered.rgb), -1)
        loss = loss + settings.mask * opacity_loss(rendered.opacity, mask).mean(dim=-1)
    return loss


def infer_codes(
    field: ConditionalField,
    start: Tensor,
    loss: Callable[[Rendered, int], Tensor],
    rays: Callable[[int], RAYS],
    steps: int,
    learning_rate: float,
    prior: float,
) -> Tensor:
    """Codes by Adam from `start`; those of different objects do not influence each other.

    Args:
        field: in evaluation mode; not changed.
        start: float32 [B, Z].
        loss: of what the rays of a step show: float32 [B], one value per object.
        rays: of each step.
        steps: number of steps; the rate falls to 0 along a cosine.
        learning_rate: of Adam, at first.
        prior: weight of the squared distance from the training objects' mean code, in their standard deviations.

    Returns:
        float32 [B, Z].
    """
    mean, deviation = field.mean_code().detach(), field.codes.weight.detach().std(dim=0).clamp_min(1e-6)
    codes = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([codes], lr=learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for step in range(steps):
        per_object = loss(field.render(codes, *rays(step)), step)
        per_object = per_object + prior * ((codes - mean) / deviation).square().mean(dim=-1)
        (codes.grad,) = torch.autograd.grad(per_object.sum(), [codes])
        optimizer.step()
        schedule.step()
    return codes.detach()


@torch.no_grad()
def nearest_codes(field: ConditionalField, loss: Callable[[Rendered], Tensor], rays: RAYS) -> Tensor:
    """int64, number of the training object whose rendering of some rays has the lowest loss.

    Args:
        field: in evaluation mode.
        loss: of what the rays show, with training objects in the place of B: float32 [B].
        rays: of one object, B = 1.
    """
    count = max(1, _rays_together(field) // rays[0].shape[1])
    losses = []
    for numbers in torch.arange(field.codes.num_embeddings, device=rays[0].device).split(count):
        losses.append(loss(field(numbers, *(values.expand(len(numbers), *values.shape[1:]) for values in rays))))
    return torch.cat(losses).argmin()


@torch.no_grad()
def render_rays(field: ConditionalField, code: Tensor, rays: RAYS) -> Rendered:
    """What many rays of one object show.

    Args:
        field: in evaluation mode.
        code: float32 [Z].
        rays: B = 1.
    """
    chunk = _rays_together(field)
    parts = []
    for i in range(0, rays[0].shape[1], chunk):
        parts.append(field.render(code[None], *(values[:, i : i + chunk] for values in rays)))
    return Rendered.cat(parts)


def _rays_together(field: ConditionalField) -> int:
    """How many rays are rendered together: the volume renderer asks for many points per ray at once."""
    return CHUNK // field.settings.samples if field.settings.renderer == "volume" else CHUNK
