"""Triplet loss with semi-hard negatives.

Schroff, Kalenichenko, Philbin: FaceNet: A Unified Embedding for Face Recognition and Clustering (CVPR 2015), section 3;
the distance not squared, as by Hermans, Beyer, Leibe: In Defense of the Triplet Loss (2017).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.losses.pairs import mean_over_pairs
from mvdecor.losses.settings import check_not_negative, check_positive


class Triplet(nn.Module):
    """One triplet an anchor: its match, and a semi-hard negative of the pair.

    With d the Euclidean distance of unit embeddings (0 to 2), the loss of anchor a_i is
    `max(0, d(a_i, b_i) - d(a_i, b_n) + margin)`, averaged over all anchors of A and B of a pair, then over pairs. The
    negative b_n is the closest of those farther than the match; where the match is the farthest of all, the farthest
    negative. (The closest of all negatives, often almost the same surface point, pulls everything into one point.) Surface
    points closer than `radius` are never each other's negatives; an anchor without negatives has loss 0.

    Args:
        margin: by how much a negative must be farther than the match.
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.

    Raises:
        InputError: a margin that is not above 0, or a negative radius.
    """

    def __init__(self, margin: float = 0.5, radius: float = 0.0) -> None:
        super().__init__()
        check_positive(margin=margin)
        check_not_negative(radius=radius)
        self.margin = margin
        self.radius = radius

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and retrieval accuracy of M matches; arguments and returns as of `InfoNCE.forward`."""
        return mean_over_pairs(a, b, points, pair, self.radius, self._of_pair)

    def _of_pair(self, za: Tensor, zb: Tensor, similarity: Tensor) -> Tensor:
        similarity = similarity.detach()
        return (self._one_way(za, zb, similarity) + self._one_way(zb, za, similarity.T)) / 2

    def _one_way(self, anchors: Tensor, partners: Tensor, similarity: Tensor) -> Tensor:
        """Mean hinge of the anchors, whose similarities to the others are the rows."""
        negative, has_negative = semi_hard_negative(similarity)
        distance = (anchors - partners).norm(dim=1) - (anchors - partners[negative]).norm(dim=1)
        return (F.relu(distance + self.margin) * has_negative).mean()


def semi_hard_negative(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar of the partners less similar than the match; where there is none, the least similar negative.

    Args:
        similarity: [K, K], without gradient; a match's own on the diagonal, -inf where not a negative.

    Returns:
        int64 [K], the index of the negative, and bool [K], false where the match has none at all (the index is then any).
    """
    positive = similarity.diagonal()[:, None]
    value, semi_hard = similarity.masked_fill(similarity >= positive, -math.inf).max(dim=1)
    no_negative = similarity.isinf() | torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    farthest = similarity.masked_fill(no_negative, math.inf).argmin(dim=1)
    return torch.where(value.isinf(), farthest, semi_hard), ~no_negative.all(dim=1)
