"""Splitting matches by pair of views, and distances within a pair."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor


def split_pairs(pair: Tensor, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The tensors' rows of one pair after another; a pair without matches is left out.

    Args:
        pair: int64 [M], ascending: the pair that each match belongs to. M > 0.
        tensors: [M, ...] each.
    """
    assert len(pair) > 0, "a loss needs at least one match"
    counts = [count for count in torch.bincount(pair).tolist() if count > 0]
    return zip(*(tensor.split(counts) for tensor in tensors), strict=True)


def similarities(za: Tensor, zb: Tensor, points: Tensor, radius: float) -> Tensor:
    """Cosine similarity [K, K] of every match in A to every match in B of one pair.

    Surface points closer than `radius` are nearly the same point: their similarity is -inf, so that they are never each
    other's negatives. A match's own similarity, on the diagonal, always stays.

    Args:
        za: float32 [K, D], embeddings of unit length in view A.
        zb: float32 [K, D], the same in view B.
        points: float32 [K, 3], the matched surface points.
        radius: in units of the world; 0 leaves all as they are.
    """
    similarity = za @ zb.T
    if radius > 0:
        near = near_points(points, points, radius).fill_diagonal_(False)
        similarity = similarity.masked_fill(near, -math.inf)
    return similarity


def near_points(a: Tensor, b: Tensor, radius: float) -> Tensor:
    """bool [A, B]: which of the points a [A, 3] and b [B, 3] are closer than `radius`."""
    # by differences: cdist's own way by products loses small distances to rounding
    return torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") < radius
