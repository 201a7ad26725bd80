"""Hardest-contrastive loss: matches closer than one margin, the most confused others farther than another.

Choy, Park, Koltun: Fully Convolutional Geometric Features (ICCV 2019); also the first loss of PointContrast (ECCV 2020).
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.losses.pairs import mean_over_pairs
from mvdecor.losses.settings import check_not_negative


class HardestContrastive(nn.Module):
    """Squared hinges on the Euclidean distances of unit embeddings (0 to 2).

    With d a distance and n(i) the negative of match i that is closest in embedding, the loss of a pair is the mean of
    `max(0, d(a_i, b_i) - positive_margin)^2` plus half the mean of `max(0, negative_margin - d(a_i, b_n(i)))^2` plus half
    the same from B to A; the loss is the mean over pairs. Negatives are all other matches of the pair. Surface points
    closer than `radius` are taken out before the hardest is sought (the source seeks it first and drops the anchor if it is
    too close); an anchor without a negative left counts in the first mean alone.

    Args:
        positive_margin: a match closer than this is close enough (0.1 in the source).
        negative_margin: a negative farther than this is far enough (1.4 in the source, about a right angle).
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.

    Raises:
        InputError: a negative margin or radius below 0.
    """

    def __init__(self, positive_margin: float = 0.1, negative_margin: float = 1.4, radius: float = 0.0) -> None:
        super().__init__()
        check_not_negative(positive_margin=positive_margin, negative_margin=negative_margin, radius=radius)
        self.positive_margin = positive_margin
        self.negative_margin = negative_margin
        self.radius = radius

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and retrieval accuracy of M matches; arguments and returns as of `InfoNCE.forward`."""
        return mean_over_pairs(a, b, points, pair, self.radius, self._of_pair)

    def _of_pair(self, za: Tensor, zb: Tensor, similarity: Tensor) -> Tensor:
        similarity = similarity.detach()
        positive = F.relu((za - zb).norm(dim=1) - self.positive_margin).square().mean()
        forth = self._push(za, zb, similarity)
        back = self._push(zb, za, similarity.T)
        return positive + (forth + back) / 2

    def _push(self, anchors: Tensor, partners: Tensor, similarity: Tensor) -> Tensor:
        """Mean squared hinge of the anchors on their hardest negatives; 0 if none has one."""
        hardest, has_negative = hardest_negative(similarity)
        hinge = F.relu(self.negative_margin - (anchors - partners[hardest]).norm(dim=1)).square()
        return (hinge * has_negative).sum() / has_negative.sum().clamp_min(1)


def hardest_negative(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """The most similar wrong partner of each match.

    Args:
        similarity: [K, K], without gradient; a match's own on the diagonal, -inf where not a negative.

    Returns:
        int64 [K], the index of the partner, and bool [K], false where the match has no negative (the index is then any).
    """
    value, index = similarity.clone().fill_diagonal_(-math.inf).max(dim=1)
    return index, value > -math.inf
