"""Dense InfoNCE: each matched pixel must find its partner among all partners of its pair (paper equation 1)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from mvdecor.errors import InputError
from mvdecor.losses.pairs import near_points
from mvdecor.losses.settings import check_not_negative, check_positive

NEGATIVES = ("pair", "batch", "both")
LEAST_TEMPERATURE = 0.003  # float64 holds no more: exp(-2 / temperature) must stay above 0
ROWS, ROWS_CUDA = 256, 2048  # of the similarities computed at a time: on a processor they should fit its cache


class InfoNCE(nn.Module):
    """Symmetric InfoNCE over the matches of each pair of views.

    The logits of match i against match j are `cos(a_i, b_j) / temperature`; the loss is the cross-entropy of finding j = i
    for each i, and i = j for each j, averaged over both directions and all pairs. Surface points closer than `radius` are
    nearly the same point and are never each other's negatives. That acts within a pair only: points of two pairs may be of
    two shapes, each in a frame of its own, so they are never compared. (Two pairs of a batch may also show the same shape;
    as negatives of each other they then hold some false ones.)

    Args:
        temperature: softmax temperature (0.07 in the paper's recipe), at least 0.003.
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.
        negatives: what a match is told apart from: "pair", all other matches of its pair (the paper); "batch", the matches
            of all other pairs of the batch, none of its own; "both". The last two take time by the square of the matches
            of a batch, not of a pair. A batch of one pair has no negatives under "batch": the loss is 0.

    Raises:
        InputError: a temperature below 0.003, a negative radius, or unknown negatives.
    """

    def __init__(self, temperature: float = 0.07, radius: float = 0.0, negatives: str = "pair") -> None:
        super().__init__()
        check_positive(temperature=temperature)
        if temperature < LEAST_TEMPERATURE:
            raise InputError(f"loss.temperature={temperature}: give at least {LEAST_TEMPERATURE}")
        check_not_negative(radius=radius)
        if negatives not in NEGATIVES:
            raise InputError(f"loss.negatives={negatives} is unknown: choose pair, batch or both")
        self.temperature = temperature
        self.radius = radius
        self.negatives = negatives

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and retrieval accuracy of M matches.

        Args:
            a: [M, D], embeddings in view A (any length; they are normalised here).
            b: [M, D], embeddings in view B.
            points: float32 [M, 3], the matched surface points.
            pair: int64 [M], ascending: the pair that each match belongs to.

        Returns:
            the loss (scalar; about log K for K matches a pair at the start) and the share of pixels of A whose most
            similar partner within the pair is the right one (scalar, without gradient; chance is 1 / K).
        """
        a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
        assert len(pair) > 0, "a loss needs at least one match"
        counts = [count for count in torch.bincount(pair).tolist() if count > 0]
        if self.negatives != "pair":
            return _Contrast.apply(a, b, points, counts, self)
        parts = zip(a.split(counts), b.split(counts), points.split(counts), strict=True)
        losses, hits = zip(*(_Contrast.apply(*part, [len(part[0])], self) for part in parts), strict=True)
        return torch.stack(losses).mean(), torch.stack(hits).mean()


class _Contrast(torch.autograd.Function):
    """The loss and, while the similarities are at hand, its gradients.

    Similarities of some matches of A (`ROWS`) to all of B are computed at a time: first for the sums of both softmaxes (one
    exponential serves both directions), then once more for the gradients. So memory grows with the matches, not with their
    square, and nothing but the two gradients is kept for the backward pass.
    """

    @staticmethod
    def forward(ctx, za: Tensor, zb: Tensor, points: Tensor, counts: list[int], loss: InfoNCE) -> tuple[Tensor, Tensor]:
        """As `InfoNCE.forward`, of embeddings of unit length; `counts` are the matches of each pair."""
        own, of_rows, of_columns = (_zeros(za, loss.temperature) for _ in range(3))
        hits = torch.empty(len(za), device=za.device)
        step = ROWS_CUDA if za.is_cuda else ROWS
        for rows, pair in _blocks(counts, step):
            similarity = _similarity(za, zb, points, rows, pair, loss)
            hits[rows] = _found(similarity, rows, pair)
            weights = _weights(similarity, rows, pair, loss)
            own[rows] = weights.diagonal(rows.start)
            of_rows[rows] = weights.sum(dim=1)
            of_columns += weights.sum(dim=0)
        share = torch.cat([torch.full((k,), 1 / (k * len(counts)), device=za.device) for k in counts])
        forth, back = own / of_rows, own / of_columns  # probability of the right partner
        if any(ctx.needs_input_grad[:2]):
            scale = share / (2 * loss.temperature)
            grad_a, grad_b = torch.empty_like(za), torch.zeros_like(zb)
            for rows, pair in _blocks(counts, step):
                weights = _weights(_similarity(za, zb, points, rows, pair, loss), rows, pair, loss)
                # by the cosine: both softmaxes, less 2 at the match itself (written so that it is 0 without negatives)
                weights *= (scale / of_rows)[rows, None] + scale / of_columns
                weights.diagonal(rows.start).copy_((scale * (forth + back - 2))[rows])
                grad_a[rows] = weights.float() @ zb
                grad_b.addmm_(weights.float().T, za[rows])
            ctx.save_for_backward(grad_a, grad_b)
        value = -(share * (forth.log() + back.log())).sum().float() / 2
        accuracy = torch.stack([h.mean() for h in hits.split(counts)]).mean()
        ctx.mark_non_differentiable(accuracy)
        return value, accuracy

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
        grad_a, grad_b = ctx.saved_tensors
        return grad * grad_a, grad * grad_b, None, None, None


def _blocks(counts: list[int], step: int) -> Iterator[tuple[slice, slice]]:
    """Rows of the matches, at most `step` at a time, each with the rows of the pair that they belong to."""
    start = 0
    for count in counts:
        for first in range(start, start + count, step):
            yield slice(first, min(first + step, start + count)), slice(start, start + count)
        start += count


def _similarity(za: Tensor, zb: Tensor, points: Tensor, rows: slice, pair: slice, loss: InfoNCE) -> Tensor:
    """(cosine - 1) / temperature [R, M] of some matches of A to all of B; -inf where points of a pair are too near."""
    shift = za.new_full((), -1 / loss.temperature)
    similarity = torch.addmm(shift, za[rows], zb.T, alpha=1 / loss.temperature)
    if loss.radius > 0:
        near = near_points(points[rows], points[pair], loss.radius)
        near.diagonal(rows.start - pair.start).fill_(False)
        similarity[:, pair].masked_fill_(near, -math.inf)
    return similarity


def _found(similarity: Tensor, rows: slice, pair: slice) -> Tensor:
    """bool [R]: whether the right partner is the most similar one of its pair."""
    target = torch.arange(rows.start - pair.start, rows.stop - pair.start, device=similarity.device)
    return similarity[:, pair].argmax(dim=1) == target


def _weights(similarity: Tensor, rows: slice, pair: slice, loss: InfoNCE) -> Tensor:
    """[R, M], the exponentials that the softmaxes sum, 0 for what is no negative; changes `similarity`."""
    if loss.negatives == "batch":
        within = similarity[:, pair]
        own = within.diagonal(rows.start - pair.start).clone()
        within.fill_(-math.inf).diagonal(rows.start - pair.start).copy_(own)
    return similarity.to(_precision(loss.temperature)).exp_()


def _precision(temperature: float) -> torch.dtype:
    """The least exponential, of opposite embeddings, is exp(-2 / temperature): it must not fall to 0."""
    return torch.float32 if 2 / temperature < 80 else torch.float64


def _zeros(za: Tensor, temperature: float) -> Tensor:
    return torch.zeros(len(za), device=za.device, dtype=_precision(temperature))
