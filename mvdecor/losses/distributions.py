"""Losses of features and of distributions over words (Liu et al. 2023, sections 3.2 to 3.4): relevancy and affinity."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

TINY = 1e-12
"""Least probability: below it a logarithm has no gradient."""
Divergence = Literal["js", "kl"]
"""js: Jensen-Shannon, symmetric, at most log 2. kl: Kullback-Leibler, which the released code computes in its place."""


def feature_loss(features: Tensor, target: Tensor) -> Tensor:
    """Mean of 1 - cosine of features and their targets, float [R, D]."""
    return 1 - cosine_similarity(features, target, dim=-1).mean()


def relevancy_loss(rendered: Tensor, relevancy: Tensor, divergence: Divergence = "js") -> Tensor:
    """Relevancy-distribution alignment: mean divergence of two distributions over words.

    Args:
        rendered: float [R, C], of rendered features.
        relevancy: float [R, C], of the pictures.
        divergence: see `Divergence`.
    """
    return divergence_of(rendered, relevancy, divergence).mean()


def affinity_loss(
    distributions: Tensor, affinity: Tensor, positive: float, negative: float, divergence: Divergence = "js"
) -> Tensor:
    """Feature-distribution alignment: what looks alike has one distribution over words, what does not has different ones.

    Of pairs of points within a patch, the sum of affinity times divergence is divided by the number of pairs that have such an
    affinity, those above and those below 0 by themselves (the re-balancing of the paper).

    Args:
        distributions: float [B, P, C], of the P points of B patches.
        affinity: float [B, P, P], symmetric, above 0 for points that look alike.
        positive, negative: weights of the two parts.
        divergence: see `Divergence`; js counts each pair once, which gives the same means.
    """
    points = distributions.shape[1]
    if divergence == "js":
        first, second = torch.triu_indices(points, points, 1, device=distributions.device)
        values = divergence_of(distributions[:, first], distributions[:, second], "js")
        pairs = affinity[:, first, second]
    else:
        logs = distributions.clamp_min(TINY).log()
        values = (distributions * logs).sum(dim=-1, keepdim=True) - distributions @ logs.transpose(1, 2)
        pairs = affinity
    alike, unlike = pairs.clamp_min(0), pairs.clamp_max(0)
    return sum(  # type: ignore[return-value]
        weight * (part * values).sum() / (part != 0).sum().clamp_min(1)
        for weight, part in ((positive, alike), (negative, unlike))
    )


def divergence_of(first: Tensor, second: Tensor, divergence: Divergence = "js") -> Tensor:
    """float [...], nats, of distributions float [..., C]."""
    first, second = first.clamp_min(TINY), second.clamp_min(TINY)
    if divergence == "kl":
        return (first * (first.log() - second.log())).sum(dim=-1)
    return entropy((first + second) / 2) - (entropy(first) + entropy(second)) / 2


def entropy(distribution: Tensor) -> Tensor:
    """float [...], nats, of distributions float [..., C] above 0."""
    return torch.special.entr(distribution).sum(dim=-1)
