"""Splitting matches by pair of views, and distances within a pair."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from mvdecor.losses.retrieval import retrieval_accuracy

AXES = ("x", "y", "z")


def split_pairs(pair: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors' rows of one pair after another; a pair without matches is left out.

    Args:
        pair: int64 [M], ascending: the pair that each match belongs to. M > 0.
        tensors: [M, ...] each.
    """
    assert len(pair) > 0, "a loss needs at least one match"
    counts = [count for count in torch.bincount(pair).tolist() if count > 0]
    return zip(*(tensor.split(counts) for tensor in tensors), strict=True)


def mean_over_pairs(
    a: Tensor, b: Tensor, points: Tensor, pair: Tensor, radius: float, loss: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Loss and retrieval accuracy of each pair of views, averaged over the pairs: scalars.

    Args:
        a, b, points, pair: as of `InfoNCE.forward`.
        radius: see `similarities`.
        loss: of one pair's K matches, from embeddings of unit length [K, D] in A and in B, and their `similarities` [K, K].
    """
    a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
    losses, accuracies = [], []
    for za, zb, xyz in split_pairs(pair, a, b, points):
        similarity = similarities(za, zb, xyz, radius)
        losses.append(loss(za, zb, similarity))
        accuracies.append(retrieval_accuracy(similarity))
    return torch.stack(losses).mean(), torch.stack(accuracies).mean()


def similarities(za: Tensor, zb: Tensor, points: Tensor, radius: float, mirror: str | None = None) -> Tensor:
    """Cosine similarity [K, K] of every match in A to every match in B of one pair.

    Surface points closer than `radius` are nearly the same point: their similarity is -inf, so that they are never each
    other's negatives. A match's own similarity, on the diagonal, always stays.

    Args:
        za: float32 [K, D], embeddings of unit length in view A.
        zb: float32 [K, D], the same in view B.
        points: float32 [K, 3], the matched surface points.
        radius: in units of the world; 0 leaves all as they are.
        mirror: see `near_points`.
    """
    similarity = za @ zb.T
    if radius > 0:
        near = near_points(points, points, radius, mirror).fill_diagonal_(False)
        similarity = similarity.masked_fill(near, -math.inf)
    return similarity


def near_points(a: Tensor, b: Tensor, radius: float, mirror: str | None = None) -> Tensor:
    """Which points are closer than `radius` to each other, or to the mirror image of the other.

    Args:
        a: float32 [..., A, 3].
        b: float32 [..., B, 3].
        radius: in units of the world.
        mirror: the axis (of `AXES`) whose sign the mirror image changes; None: there is no mirror.

    Returns:
        bool [..., A, B].
    """
    # by differences: cdist's own way by products loses small distances to rounding
    near = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") < radius
    if mirror is None:
        return near
    mirrored = a.clone()
    mirrored[..., AXES.index(mirror)] *= -1
    return near | near_points(mirrored, b, radius)
