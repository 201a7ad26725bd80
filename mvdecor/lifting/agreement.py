"""How far the views that see a face agree on it."""

from __future__ import annotations

import torch
from torch import Tensor


class ViewAgreement:
    """Means over images of what each of them says of a face, every image that sees it counting once.

    An image (a layer of a view) says the mean of softmax(logits / temperature) over its pixels on the face. Of the images of
    a face this keeps the sum of those class probabilities, the sum of their entropies, and how many there are:

    - *probabilities*: their mean. That of a face's label is its confidence.
    - *disagreement*: the entropy of the mean less the mean of the entropies, in nats: the mean Kullback-Leibler divergence
      of an image's probabilities from the mean (the generalised Jensen-Shannon divergence). 0 where all images say the
      same, however unsure they are; at most log C, and at most the log of the number of images.

    Args:
        rows: R, number of things that are seen (faces, or groups of twins, of each layer that is kept apart).
        num_labels: C.
        temperature: divides the logits; 1 leaves them.
        device: where the sums live.
    """

    def __init__(self, rows: int, num_labels: int, temperature: float, device: torch.device | str) -> None:
        assert temperature > 0, f"a temperature of {temperature}; it must be above 0"
        self.rows, self.temperature = rows, temperature
        self._sums = torch.zeros(rows, num_labels + 2, device=device)

    def add(self, row: Tensor, image: Tensor, logits: Tensor) -> None:
        """Add all pixels of some images; no pixel of an image may be left for a later call.

        Args:
            row: int64 [P], what each pixel sees, in [0, R).
            image: int64 [P], its image, numbered within this call.
            logits: float32 [P, C].
        """
        looks, look, pixels = (image * self.rows + row).unique(return_inverse=True, return_counts=True)
        probabilities = (logits / self.temperature).softmax(dim=-1)
        sums = torch.zeros(len(looks), logits.shape[1], device=logits.device)
        mean = sums.index_add_(0, look, probabilities) / pixels[:, None]
        entropy = torch.special.entr(mean).sum(dim=-1, keepdim=True)
        self._sums.index_add_(0, looks % self.rows, torch.cat([mean, entropy, torch.ones_like(entropy)], dim=-1))

    def result(self) -> tuple[Tensor, Tensor]:
        """float32 [R, C], mean probabilities; float32 [R], disagreement in nats. Both 0 where nothing was seen."""
        images = self._sums[:, -1:].clamp_min(1.0)
        probabilities, entropy = self._sums[:, :-2] / images, self._sums[:, -2] / images[:, 0]
        disagreement = torch.special.entr(probabilities).sum(dim=-1) - entropy
        return probabilities, disagreement.clamp_min(0.0)
