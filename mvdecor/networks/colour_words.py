"""Stand-ins for pretrained networks that need no weights: names of colours, and where a pixel is. Controls, and for tests."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import ImageColor
from torch import Tensor
from torch.nn.functional import normalize

from mvdecor.errors import InputError

WIDTH = 0.18
"""Standard deviation of the bell around each anchor, of colours in [0, 1]."""


class ColourWords:
    """A `TextImage` and a `DenseImage` that knows colours alone.

    A colour is how near it is to each of `side`³ anchors that fill the RGB cube; a picture is the mean of its pixels, a phrase
    the colour that its words name (CSS names, or #rrggbb).

    Args:
        side: anchors per axis.
        crop_size: pixels per side of the pictures that are embedded.
    """

    context = 77

    def __init__(self, side: int = 5, crop_size: int = 8) -> None:
        axis = torch.linspace(0, 1, side)
        self.anchors = torch.cartesian_prod(axis, axis, axis)
        self.dimension, self.crop_size = side**3, crop_size
        self.fingerprint = f"colour words {side} {crop_size} {WIDTH}"

    def image_features(self, patches: Tensor) -> Tensor:
        """See `TextImage`."""
        return normalize(self._bells(patches.flatten(2).transpose(1, 2)).mean(dim=1), dim=-1)

    def text_features(self, words: Sequence[str]) -> Tensor:
        """See `TextImage`. Raises InputError for a phrase without a colour."""
        return normalize(self._bells(torch.tensor([_colour(phrase) for phrase in words])), dim=-1)

    def tokens(self, words: str) -> int:
        """See `TextImage`."""
        return len(words.split()) + 2

    def dense_features(self, image: Tensor) -> Tensor:
        """See `DenseImage`."""
        return normalize(self._bells(image.permute(1, 2, 0)), dim=-1).permute(2, 0, 1)

    def _bells(self, colours: Tensor) -> Tensor:
        distances = (colours[..., None, :] - self.anchors.to(colours)).square().sum(dim=-1)
        return torch.exp(-distances / (2 * WIDTH**2))


class PixelPositions:
    """A `DenseImage` that sees nothing: near pixels are alike. What pairs of pixels teach beyond it comes from the picture."""

    dimension = 4
    fingerprint = "pixel positions"

    def dense_features(self, image: Tensor) -> Tensor:
        """Cosine and sine of a quarter turn across the picture, along each axis: cosines of pairs fall with distance."""
        height, width = image.shape[1:]
        rows, columns = (torch.pi / 2 * (torch.arange(length) + 0.5) / length for length in (height, width))
        down, across = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([down.cos(), down.sin(), across.cos(), across.sin()]).to(image) / 2**0.5


def _colour(phrase: str) -> list[float]:
    for word in phrase.casefold().split():
        try:
            return [channel / 255 for channel in ImageColor.getrgb(word)[:3]]
        except ValueError:
            continue
    raise InputError(
        f"words: {phrase!r} names no colour, and text_image=colour knows nothing else: choose another text_image"
    )
