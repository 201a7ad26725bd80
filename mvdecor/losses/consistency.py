"""Agreement of two views: the two pixels of a match should have the same distribution over the labels."""

from __future__ import annotations

import torch
from torch import Tensor


def symmetric_kl(a: Tensor, b: Tensor, pair: Tensor, pairs: int) -> Tensor:
    """Half of KL(p_a || p_b) + KL(p_b || p_a), averaged over the matches of each pair of views, then over the pairs.

    Both sides are moved. It is 0 where they agree, whatever they say, so that it needs a loss on labels beside it.

    Args:
        a, b: float [M, C], logits at both ends of M matches.
        pair: int64 [M], the pair of each match, in [0, pairs).
        pairs: P; one without matches counts 0.

    Returns:
        a scalar of at least 0, in nats.
    """
    log_a, log_b = a.float().log_softmax(dim=-1), b.float().log_softmax(dim=-1)
    divergence = 0.5 * ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(dim=-1)
    counts = torch.bincount(pair, minlength=pairs).clamp_min(1)
    return (divergence / counts[pair]).sum() / pairs
