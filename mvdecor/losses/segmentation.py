"""Losses of logits against labels, for fine-tuning (paper section 3.2 has cross-entropy).

Each gives a mean and the sum of the weights that it is a mean of, so that the mean over several processes can be taken.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.errors import InputError


class CrossEntropy(nn.Module):
    """Cross-entropy, averaged over the labelled pixels by the weights of their labels.

    Args:
        weights: one per label, finite and at least 0; None: all the same.
    """

    def __init__(self, weights: Sequence[float] | None = None) -> None:
        super().__init__()
        self.weights = None if weights is None else _checked(weights)

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, 0 if no pixel is labelled, and the sum of the pixels' weights.

        Args:
            logits: [B, C, H, W].
            labels: int64 [B, H, W], -1 where background or undetermined.
        """
        losses, weights = self._pixels(logits, labels)
        return (weights * losses).sum() / _some(weights.sum()), weights.sum()

    def _pixels(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-entropy and weight of each pixel, [B, H, W]; both 0 where there is no label."""
        losses = F.cross_entropy(logits.float(), labels, ignore_index=-1, reduction="none")
        if self.weights is None:
            return losses, (labels >= 0).float()
        if len(self.weights) != logits.shape[1]:
            raise InputError(
                f"segmentation_loss.weights={self.weights}: give {logits.shape[1]} numbers, one per label of the data"
            )
        weights = torch.tensor(self.weights, device=logits.device)[labels.clamp_min(0)]
        return losses, weights * (labels >= 0)


class Focal(CrossEntropy):
    """Focal loss (Lin et al., ICCV 2017): cross-entropy times (1 - p)^gamma, with p the probability of the right label.

    Args:
        gamma: at least 0.
        weights: see `CrossEntropy`.
    """

    def __init__(self, gamma: float = 2.0, weights: Sequence[float] | None = None) -> None:
        super().__init__(weights)
        if isinstance(gamma, bool) or not isinstance(gamma, int | float) or not 0 <= gamma < math.inf:
            raise InputError(f"segmentation_loss.gamma={gamma}: give a number of at least 0")
        self.gamma = gamma

    def _pixels(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses, weights = super()._pixels(logits, labels)
        # of a pixel that is surely right, 1 - p is 0, and so is the gradient; the power of 0 has none
        wrong = (-torch.expm1(-losses)).clamp_min(torch.finfo(losses.dtype).tiny)
        return losses * wrong**self.gamma, weights


class Dice(nn.Module):
    """Soft Dice loss: 1 - 2 |P ∩ T| / (|P| + |T|), averaged over the parts that occur in a view, then over the views.

    P are the probabilities of a part and T its truth, at the labelled pixels of the view.
    """

    def forward(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The mean, 0 if no pixel is labelled, and the number of views that have one; arguments as of `CrossEntropy`."""
        known = (labels >= 0)[:, None]
        truth = F.one_hot(labels.clamp_min(0), logits.shape[1]).movedim(-1, 1) * known
        predicted = logits.float().softmax(dim=1) * known
        both, sizes, occurring = (predicted * truth).sum((2, 3)), (predicted + truth).sum((2, 3)), truth.sum((2, 3)) > 0
        parts = (1 - 2 * both / _some(sizes)) * occurring
        views = parts.sum(1) / occurring.sum(1).clamp_min(1)
        count = occurring.any(1).sum()
        return views.sum() / count.clamp_min(1), count


def _some(total: Tensor) -> Tensor:
    """A sum to divide by, where 0 is divided by 0 too."""
    return torch.where(total > 0, total, 1.0)


def _checked(weights: Sequence[float]) -> list[float]:
    numbers = [w for w in weights if isinstance(w, int | float) and not isinstance(w, bool) and 0 <= w < math.inf]
    if len(numbers) < len(weights) or not any(numbers):
        raise InputError(f"segmentation_loss.weights={list(weights)}: give a number of at least 0 per label, not all 0")
    return [float(w) for w in numbers]
