"""Matches whose embeddings are alike: near duplicates, twins by symmetry and repeated parts, which are hardly negatives.

What is alike is told by rank, not by a least cosine: at the start of a training all embeddings are similar, and with a fixed
least cosine no negative would be left to learn from.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

SAMPLED = 256
"""Matches of a pair, at most, by which its least cosine is found."""


def directions(za: Tensor, zb: Tensor) -> Tensor:
    """Embeddings of matches: float32 [..., D] of unit length, the mean of those in both views, without gradient."""
    return F.normalize(za.detach() + zb.detach(), dim=-1)


def least_cosine(z: Tensor, share: float) -> Tensor:
    """The cosine above which two different matches of a set are among the `share` of those that are most alike.

    Args:
        z: float32 [P, K, D], the `directions` of the K matches of each of P sets.
        share: of all pairs of matches, at least 0 and less than 1.

    Returns:
        float32 [P]; infinite where that share is less than one pair. Of more than `SAMPLED` matches it is an estimate, by the
        similarities of so many of them, evenly spaced, to all.
    """
    sets, matches = z.shape[:2]
    rows = torch.linspace(0, matches - 1, min(matches, SAMPLED), device=z.device).long()
    cosines = z[:, rows] @ z.mT
    cosines[:, torch.arange(len(rows), device=z.device), rows] = -math.inf  # a match and itself
    count = 2 * int(share * len(rows) * (matches - 1) / 2)  # each pair is there twice
    if count == 0:
        return z.new_full((sets,), math.inf)
    last_two = cosines.flatten(1).topk(count + 1).values[:, -2:]
    return last_two.mean(dim=1)  # between two, so that rounding changes nothing


def alike_matches(za: Tensor, zb: Tensor, share: float) -> Tensor:
    """bool [K, K]: which of the K matches of one pair are alike, see `least_cosine`; none with itself.

    Args:
        za: float32 [K, D], embeddings of unit length in view A.
        zb: float32 [K, D], the same in view B.
        share: of all pairs of matches, the most similar ones.
    """
    z = directions(za, zb)
    return (z @ z.T > least_cosine(z[None], share)).fill_diagonal_(False)
