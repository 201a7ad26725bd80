"""Dense InfoNCE in blocks of rows, with its gradients written by hand: the same as `infonce`, in less memory and time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mvdecor.losses.alike import directions, least_cosine
from mvdecor.losses.pairs import near_points

ROWS = 256
"""Of the similarities computed at a time on a processor, whose cache they should fit."""
ENTRIES_CUDA = 2**26
"""Similarities computed at a time on a GPU, of all pairs of a batch together: 256 MB."""


class Settings(NamedTuple):
    """Those of `InfoNCE`."""

    temperature: float
    radius: float
    negatives: str
    mirror: str | None
    alike: float


def infonce_blocks(
    za: Tensor, zb: Tensor, points: Tensor, counts: list[int], settings: Settings
) -> tuple[Tensor, Tensor]:
    """Loss and retrieval accuracy of M matches, see `InfoNCE.forward`.

    Args:
        za: float32 [M, D], embeddings of unit length in view A.
        zb: float32 [M, D], the same in view B.
        points: float32 [M, 3], the matched surface points.
        counts: matches of each pair, in order; each at least 1, their sum is M.
        settings: of the loss.
    """
    if settings.negatives != "pair":
        value, hits = _Contrast.apply(za[None], zb[None], points[None], counts, settings)
        return value[0], hits[0]
    values, accuracies = [], []
    sizes = [(count, len(list(equal))) for count, equal in groupby(counts)] if za.is_cuda else [(k, 1) for k in counts]
    parts = (x.split([count * pairs for count, pairs in sizes]) for x in (za, zb, points))
    for (count, pairs), *part in zip(sizes, *parts, strict=True):
        value, hits = _Contrast.apply(*(x.view(pairs, count, -1) for x in part), [count], settings)
        values.append(value)
        accuracies.append(hits)
    return torch.cat(values).mean(), torch.cat(accuracies).mean()


class _Contrast(torch.autograd.Function):
    """The loss and, while the similarities are in memory, its gradients; of P sets of matches at once that are apart.

    Similarities of some matches of A to all of B are computed at a time: first for the sums of both softmaxes (one
    exponential serves both directions), then once more for the gradients. So memory grows with the matches, not with their
    square, and nothing but the two gradients is kept for the backward pass.
    """

    @staticmethod
    def forward(
        ctx, za: Tensor, zb: Tensor, points: Tensor, counts: list[int], settings: Settings
    ) -> tuple[Tensor, Tensor]:
        """Values [P] and accuracies [P] of [P, M, D], [P, M, D] and [P, M, 3]; see `infonce_blocks`."""
        sets, matches = za.shape[:2]
        positives, of_rows, of_columns = (
            torch.zeros(sets, matches, device=za.device, dtype=_precision(settings.temperature)) for _ in range(3)
        )
        hits = torch.empty(sets, matches, device=za.device)
        alike = _alike(za, zb, counts, settings)
        step = max(1, ENTRIES_CUDA // (sets * matches)) if za.is_cuda else ROWS
        for rows, pair in _blocks(counts, step):
            similarity = _similarity(za, zb, points, alike, rows, pair, settings)
            hits[:, rows] = _found(similarity, rows, pair)
            weights = _weights(similarity, rows, pair, settings)
            positives[:, rows] = weights.diagonal(rows.start, 1, 2)
            of_rows[:, rows] = weights.sum(dim=2)
            of_columns += weights.sum(dim=1)
        share = torch.cat([torch.full((k,), 1 / (k * len(counts)), device=za.device) for k in counts])
        forth, back = positives / of_rows, positives / of_columns  # probability of the right partner
        if any(ctx.needs_input_grad[:2]):
            scale = share / (2 * settings.temperature)
            grad_a, grad_b = torch.empty_like(za), torch.zeros_like(zb)
            by_rows, by_columns, at_match = scale / of_rows, scale / of_columns, scale * (forth + back - 2)
            for rows, pair in _blocks(counts, step):
                weights = _weights(_similarity(za, zb, points, alike, rows, pair, settings), rows, pair, settings)
                # by the cosine: both softmaxes, less 2 at the match itself (written so that it is 0 without negatives)
                weights *= by_rows[:, rows, None] + by_columns[:, None]
                weights.diagonal(rows.start, 1, 2).copy_(at_match[:, rows])
                grad_a[:, rows] = weights.float() @ zb
                grad_b.baddbmm_(weights.float().mT, za[:, rows])
            ctx.save_for_backward(grad_a, grad_b)
        value = -(share * (forth.log() + back.log())).sum(dim=1).float() / 2
        accuracy = torch.stack([h.mean(dim=1) for h in hits.split(counts, dim=1)]).mean(dim=0)
        ctx.mark_non_differentiable(accuracy)
        return value, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_a, grad_b = ctx.saved_tensors
        return grad[:, None, None] * grad_a, grad[:, None, None] * grad_b, None, None, None


def _blocks(counts: list[int], step: int) -> Iterator[tuple[slice, slice]]:
    """Rows of the matches, at most `step` at a time, each with the rows of the pair that they belong to."""
    start = 0
    for count in counts:
        for first in range(start, start + count, step):
            yield slice(first, min(first + step, start + count)), slice(start, start + count)
        start += count


def _alike(za: Tensor, zb: Tensor, counts: list[int], settings: Settings) -> tuple[Tensor, Tensor] | None:
    """The `directions` [P, M, D] of all matches, and for each the least cosine [P, M] of those of its pair that are too much
    like it; None where that does not matter."""
    if settings.alike == 0:
        return None
    z = directions(za, zb)
    limits = [least_cosine(part, settings.alike)[:, None].expand(part.shape[:2]) for part in z.split(counts, dim=1)]
    return z, torch.cat(limits, dim=1)


def _similarity(
    za: Tensor,
    zb: Tensor,
    points: Tensor,
    alike: tuple[Tensor, Tensor] | None,
    rows: slice,
    pair: slice,
    settings: Settings,
) -> Tensor:
    """(cosine - 1) / temperature [P, R, M] of some matches of A to all of B; -inf where those of a pair are no negatives."""
    shift = za.new_full((), -1 / settings.temperature)
    similarity = torch.baddbmm(shift, za[:, rows], zb.mT, alpha=1 / settings.temperature)
    left_out = []
    if settings.radius > 0:
        left_out.append(near_points(points[:, rows], points[:, pair], settings.radius, settings.mirror))
    if alike is not None:
        z, limits = alike
        left_out.append(z[:, rows] @ z[:, pair].mT > limits[:, rows, None])
    for mask in left_out:
        mask.diagonal(rows.start - pair.start, 1, 2).fill_(False)
        similarity[:, :, pair].masked_fill_(mask, -math.inf)
    return similarity


def _found(similarity: Tensor, rows: slice, pair: slice) -> Tensor:
    """bool [P, R]: whether the right partner is the most similar one of its pair."""
    target = torch.arange(rows.start - pair.start, rows.stop - pair.start, device=similarity.device)
    return similarity[:, :, pair].argmax(dim=2) == target


def _weights(similarity: Tensor, rows: slice, pair: slice, settings: Settings) -> Tensor:
    """[P, R, M], the exponentials that the softmaxes sum, 0 for what is no negative; changes `similarity`."""
    if settings.negatives == "batch":
        within = similarity[:, :, pair]
        positives = within.diagonal(rows.start - pair.start, 1, 2).clone()
        within.fill_(-math.inf).diagonal(rows.start - pair.start, 1, 2).copy_(positives)
    return similarity.to(_precision(settings.temperature)).exp_()


def _precision(temperature: float) -> torch.dtype:
    """The least exponential, of opposite embeddings, is exp(-2 / temperature): it must not fall to 0."""
    return torch.float32 if 2 / temperature < 80 else torch.float64
