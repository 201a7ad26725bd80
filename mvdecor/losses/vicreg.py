"""Dense VICReg: matches agree, and embeddings keep their spread, without any negatives.

Bardes, Ponce, LeCun: VICReg: Variance-Invariance-Covariance Regularization for Self-Supervised Learning (ICLR 2022),
section 4.1, on the embeddings of matched pixels in the place of whole images.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.losses.pairs import similarities, split_pairs
from mvdecor.losses.retrieval import retrieval_accuracy
from mvdecor.losses.settings import check_not_negative

EPSILON = 1e-4  # in the deviation, as in the source: the root has a finite slope at 0


class VICReg(nn.Module):
    """Weighted sum of three terms, each a mean over the pairs of the batch.

    - invariance: mean over matches and dimensions of the squared difference of the two embeddings;
    - variance: mean over dimensions of `max(0, 1 - deviation)`, the deviation over the K matches of a pair, averaged over
      the views: no dimension may die;
    - covariance: sum of the squared entries off the diagonal of the covariance matrix over D, summed over the views: no
      two dimensions may say the same.

    Deviation and covariance are taken within each pair, so that the points of one shape must differ, not only shapes from
    each other. Means and sums are those of the authors' code, for which the default weights are meant. The embeddings are
    not normalised: their length is what the variance term sets. There is no expander between embeddings and loss as in
    the source.

    Args:
        invariance: weight (25 in the source).
        variance: weight (25 in the source); 0 lets all embeddings collapse into one.
        covariance: weight (1 in the source).
        radius: of the retrieval accuracy alone, which then means the same as beside the other losses: surface points closer
            than this, in units of the world, are no candidates. The loss has no negatives that it could limit.

    Raises:
        InputError: a weight or radius below 0.
    """

    def __init__(
        self, invariance: float = 25.0, variance: float = 25.0, covariance: float = 1.0, radius: float = 0.0
    ) -> None:
        super().__init__()
        check_not_negative(invariance=invariance, variance=variance, covariance=covariance, radius=radius)
        self.invariance = invariance
        self.variance = variance
        self.covariance = covariance
        self.radius = radius

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and retrieval accuracy (by cosine) of M matches; arguments and returns as of `InfoNCE.forward`.

        A pair with a single match has no spread: its invariance alone counts.
        """
        a, b = a.float(), b.float()
        losses, hits = [], []
        for za, zb, xyz in split_pairs(pair, a, b, points):
            directions = F.normalize(za.detach(), dim=-1), F.normalize(zb.detach(), dim=-1)
            hits.append(retrieval_accuracy(similarities(*directions, xyz, self.radius)))
            loss = self.invariance * F.mse_loss(za, zb)
            if len(za) > 1:
                loss = loss + self.variance * (lost_variance(za) + lost_variance(zb)) / 2
                loss = loss + self.covariance * (redundancy(za) + redundancy(zb))
            losses.append(loss)
        return torch.stack(losses).mean(), torch.stack(hits).mean()


def lost_variance(z: Tensor) -> Tensor:
    """By how much the deviation of a dimension of z [K, D] falls short of 1, on average; scalar."""
    return F.relu(1 - (z.var(dim=0) + EPSILON).sqrt()).mean()


def redundancy(z: Tensor) -> Tensor:
    """Sum of the squared covariances of different dimensions of z [K, D], K > 1, over D; scalar."""
    centred = z - z.mean(dim=0)
    covariance = centred.T @ centred / (len(z) - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
