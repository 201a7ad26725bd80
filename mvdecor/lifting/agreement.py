"""How far the views that see a face agree on it."""

from __future__ import annotations

import torch
from torch import Tensor


class ViewAgreement:
    """What each image that sees a face says of it, every image counting once.

    An image (a layer of a view) says the mean of softmax(logits / temperature) over its pixels on the face; the label that it
    would give is the most probable one by that mean. A close-up with a hundred pixels on a face counts as much as a view
    with one, and an image that is sure as much as one that is not.

    Args:
        rows: R, number of elements that are seen (faces, or groups of twins, of each layer that is kept apart).
        num_labels: C.
        temperature: divides the logits; 1 leaves them.
        device: where the sums live.
    """

    def __init__(self, rows: int, num_labels: int, temperature: float, device: torch.device | str) -> None:
        assert temperature > 0, f"a temperature of {temperature}; it must be above 0"
        self.rows, self.temperature = rows, temperature
        self._probabilities = torch.zeros(rows, num_labels, device=device)
        self._images = torch.zeros(rows, num_labels, device=device)

    def add(self, row: Tensor, image: Tensor, logits: Tensor) -> None:
        """Add all pixels of some images; no pixel of an image may be left for a later call.

        Args:
            row: int64 [P], what each pixel sees, in [0, R).
            image: int64 [P], its image, numbered within this call.
            logits: float32 [P, C].
        """
        sightings, sighting, pixels = (image * self.rows + row).unique(return_inverse=True, return_counts=True)
        probabilities = (logits / self.temperature).softmax(dim=-1)
        sums = torch.zeros(len(sightings), logits.shape[1], device=logits.device)
        mean = sums.index_add_(0, sighting, probabilities) / pixels[:, None]
        self._probabilities.index_add_(0, sightings % self.rows, mean)
        labels = torch.nn.functional.one_hot(mean.argmax(dim=-1), logits.shape[1]).float()
        self._images.index_add_(0, sightings % self.rows, labels)

    def result(self) -> tuple[Tensor, Tensor]:
        """Two float32 [R, C]: mean of the images' probabilities, and share of the images that would give each label.

        Rows sum to 1, or are 0 where nothing was seen.
        """
        images = self._images.sum(dim=-1, keepdim=True).clamp_min(1.0)
        return self._probabilities / images, self._images / images
