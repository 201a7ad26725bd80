"""Retrieval accuracy: a figure that is comparable between losses."""

from __future__ import annotations

import torch
from torch import Tensor


def retrieval_accuracy(similarity: Tensor) -> Tensor:
    """Share of the pixels of A whose most similar partner is the right one; scalar float32, without gradient.

    Args:
        similarity: [K, K], of match i in A to match j in B of one pair, K > 0; -inf takes a candidate out.
    """
    target = torch.arange(len(similarity), device=similarity.device)
    return (similarity.detach().argmax(dim=1) == target).float().mean()
