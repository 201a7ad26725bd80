"""Dense InfoNCE: each matched pixel must find its partner among all partners of its pair (paper equation 1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class InfoNCE(nn.Module):
    """Symmetric InfoNCE over the matches of each pair of views.

    The logits of match i against match j are `cos(a_i, b_j) / temperature`; the loss is the cross-entropy of finding j = i
    for each i, and i = j for each j, averaged over both directions and all pairs. Surface points closer than `radius` are
    nearly the same point and are never each other's negatives.

    Args:
        temperature: softmax temperature (0.07 in the paper's recipe).
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.
    """

    def __init__(self, temperature: float = 0.07, radius: float = 0.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.radius = radius

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Loss and retrieval accuracy of M matches.

        Args:
            a: [M, D], embeddings in view A (any length; they are normalised here).
            b: [M, D], embeddings in view B.
            points: float32 [M, 3], the matched surface points.
            pair: int64 [M], ascending: the pair that each match belongs to.

        Returns:
            the loss (scalar; about log K for K matches a pair at the start) and the share of pixels of A whose most
            similar partner is the right one (scalar, without gradient; chance is 1 / K).
        """
        assert len(pair) > 0, "InfoNCE needs at least one match"
        a, b = F.normalize(a.float(), dim=-1), F.normalize(b.float(), dim=-1)
        counts = torch.bincount(pair).tolist()
        losses, hits = [], []
        for za, zb, xyz in zip(a.split(counts), b.split(counts), points.split(counts), strict=True):
            if len(za) == 0:
                continue
            logits = za @ zb.T / self.temperature
            target = torch.arange(len(za), device=za.device)
            if self.radius > 0:
                # by differences: cdist's own way by products loses small distances to rounding
                distance = torch.cdist(xyz, xyz, compute_mode="donot_use_mm_for_euclid_dist")
                near = (distance < self.radius).fill_diagonal_(False)
                logits = logits.masked_fill(near, -math.inf)
            losses.append((F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2)
            hits.append((logits.detach().argmax(dim=1) == target).float().mean())
        return torch.stack(losses).mean(), torch.stack(hits).mean()
