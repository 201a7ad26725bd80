"""Codes of new objects: only the code moves, the field stays as it is (Kohli et al. 2020, section 3.3)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from mvdecor.fields.field import ConditionalField, Rendered

RAYS = tuple[Tensor, Tensor, Tensor, Tensor]
"""Origins and directions float32 [B, R, 3], near and far float32 [B, R]."""
CHUNK = 32_768
"""Points at which a field is asked together where no gradient is needed."""


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
