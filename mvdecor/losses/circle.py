"""Circle loss: each similarity is pushed as hard as it is far from where it should be.

Sun et al.: Circle Loss: A Unified Perspective of Pair Similarity Optimization (CVPR 2020), equations 4 to 8.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.losses.pairs import mean_over_pairs
from mvdecor.losses.settings import check_not_negative, check_positive


class Circle(nn.Module):
    """Circle loss of dense matches: each anchor has one positive, its match, and all other matches of its pair as negatives.

    With s_p the anchor's cosine similarity to its match and s_n to a negative, its loss is
    `log(1 + sum_n exp(scale * [s_n + margin]_+ * (s_n - margin)) * exp(-scale * [1 + margin - s_p]_+ * (s_p - 1 + margin)))`,
    averaged over all anchors of A and B of a pair, then over pairs. The factors [.]_+ are weights, so no gradient goes
    through them. Surface points closer than `radius` are never each other's negatives; an anchor without
    negatives has loss 0.

    Args:
        margin: relaxation of the targets, s_p > 1 - margin and s_n < margin; 0 to 1 (0.25 to 0.4 in the source).
        scale: sharpness, the inverse of a temperature (80 to 256 in the source). The loss grows with it.
        radius: least distance of a negative, in units of the world; 0 keeps all other matches as negatives.

    Raises:
        InputError: a margin or radius below 0, or a scale that is not above 0.
    """

    def __init__(self, margin: float = 0.25, scale: float = 80.0, radius: float = 0.0) -> None:
        super().__init__()
        check_not_negative(margin=margin, radius=radius)
        check_positive(scale=scale)
        self.margin = margin
        self.scale = scale
        self.radius = radius

    def forward(self, a: Tensor, b: Tensor, points: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """Loss (scalar) and retrieval accuracy of M matches; arguments and returns as of `InfoNCE.forward`."""
        return mean_over_pairs(a, b, points, pair, self.radius, self._of_pair)

    def _of_pair(self, za: Tensor, zb: Tensor, similarity: Tensor) -> Tensor:
        return (self._one_way(similarity) + self._one_way(similarity.T)) / 2

    def _one_way(self, similarity: Tensor) -> Tensor:
        """Mean loss of the anchors, whose similarities are the rows."""
        positive = similarity.diagonal()
        pull = F.relu(1 + self.margin - positive.detach()) * (positive - 1 + self.margin)
        push = F.relu(similarity.detach() + self.margin) * (similarity - self.margin)
        # -inf * 0 is not a number: what is no negative is taken out only here
        push = push.masked_fill(similarity.isinf(), -torch.inf)
        exponents = self.scale * (push - pull[:, None])
        # the diagonal is the 1 of log(1 + ...): exp(0)
        return exponents.diagonal_scatter(torch.zeros_like(positive)).logsumexp(dim=1).mean()
