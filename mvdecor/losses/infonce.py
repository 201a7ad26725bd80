"""Dense InfoNCE: each matched pixel must find its partner among all partners of its pair (paper equation 1)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.errors import InputError
from mvdecor.losses.pairs import similarities, split_pairs
from mvdecor.losses.retrieval import retrieval_accuracy
from mvdecor.losses.settings import check_not_negative, check_positive

NEGATIVES = ("pair", "batch", "both")


class InfoNCE(nn.Module):
    """Symmetric InfoNCE over the matches of each pair of views.

    The logits of match i against match j are `cos(a_i, b_j) / temperature`; the loss is the cross-entropy of finding j = i
    for each i, and i = j for each j, averaged over both directions and all pairs. Surface points closer than `radius` are
    nearly the same point and are never each other's negatives. That acts within a pair only: points of two pairs may be of
    two shapes, each in a frame of its own, so they are never compared. (Two pairs of a batch may also show the same shape;
    as negatives of each other they then hold some false ones.)

    Args:
        temperature: softmax temperature (0.07 in the paper's recipe).
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.
        negatives: what a match is told apart from: "pair", all other matches of its pair (the paper); "batch", the matches
            of all other pairs of the batch, none of its own; "both". The last two take memory by the square of the matches
            of a batch, not of a pair. A batch of one pair has no negatives under "batch": the loss is 0.

    Raises:
        InputError: a temperature that is not above 0, a negative radius, or unknown negatives.
    """

    def __init__(self, temperature: float = 0.07, radius: float = 0.0, negatives: str = "pair") -> None:
        super().__init__()
        check_positive(temperature=temperature)
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
        losses, hits = [], []
        for za, zb, xyz, number in split_pairs(pair, a, b, points, pair):
            logits = similarities(za, zb, xyz, self.radius) / self.temperature
            hits.append(retrieval_accuracy(logits))
            forth, back = logits, logits.T
            if self.negatives != "pair":
                others = pair != number[0]
                if self.negatives == "batch":
                    logits = torch.full_like(logits, -math.inf).diagonal_scatter(logits.diagonal())
                forth = torch.cat([logits, za @ b[others].T / self.temperature], dim=1)
                back = torch.cat([logits.T, zb @ a[others].T / self.temperature], dim=1)
            target = torch.arange(len(za), device=za.device)
            losses.append((F.cross_entropy(forth, target) + F.cross_entropy(back, target)) / 2)
        return torch.stack(losses).mean(), torch.stack(hits).mean()
