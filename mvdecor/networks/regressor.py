"""`VertexRegressor`: from an image to an image position and a visibility per vertex of a template."""

from __future__ import annotations

from typing import Any, cast

import timm
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, normalize

from mvdecor.channels import CHANNELS
from mvdecor.networks.encoders import checked_encoder

FINE = 1
"""Number of the encoder's map of features that textures are compared by: a quarter of the image's resolution for most."""


class VertexRegressor(nn.Module):
    """A timm encoder, a convolution to `width` channels, and a linear layer to 3 numbers per vertex.

    Args:
        vertices: V.
        encoder: a convolutional timm model.
        weights: its initial weights: null, imagenet (download), or a file of them.
        stage: which of its maps of features is used: -1 the last (1/32 of the image for most), -2 the one before.
        width: channels of the convolution.
        grid: rows and columns of the map of features after it that the next layer sees.
        hidden: numbers between the convolution and the last layer, normalised, so that high learning rates do no harm; 0: none,
            as in the paper.

    Raises:
        InputError: an unknown encoder, or weights that cannot be loaded.
    """

    def __init__(
        self,
        vertices: int,
        encoder: str = "resnet18",
        weights: str | None = None,
        stage: int = -1,
        width: int = 256,
        grid: int = 4,
        hidden: int = 0,
    ) -> None:
        super().__init__()
        with checked_encoder(encoder, weights) as options:
            network: Any = timm.create_model(
                encoder, pretrained=weights is not None, features_only=True, out_indices=(FINE, stage), **options
            )
            channels = network.feature_info.channels()[-1]
        self.encoder = network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        self.grid = grid
        inputs = width * grid * grid
        self.hidden = (
            nn.Sequential(nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.ReLU(inplace=True))
            if hidden
            else nn.Identity()
        )
        self.head = nn.Linear(hidden or inputs, 3 * vertices)
        nn.init.normal_(self.head.weight, std=1e-3)
        nn.init.zeros_(self.head.bias)
        channel = CHANNELS["rgb"]
        self.register_buffer("mean", torch.tensor(channel.mean)[:, None, None], persistent=False)
        self.register_buffer("std", torch.tensor(channel.std)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Positions and visibilities.

        Args:
            images: float [B, 3, H, W] in [0, 1].

        Returns:
            float [B, V, 2] in (-1, 1), x right, y down, (-1, -1) the image's top left corner; float [B, V], logits.
        """
        pooled = adaptive_avg_pool2d(self.reduce(self._encode(images)[-1]), self.grid)
        with torch.autocast(images.device.type, enabled=False):  # positions finer than bfloat16 has them
            numbers = self.head(self.hidden(pooled.flatten(1).float())).view(len(images), -1, 3)
        return numbers[..., :2].tanh(), numbers[..., 2]

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """float [B, C, H, W], fine features of the encoder as it is now, of unit length, enlarged to the size of the images."""
        fine = normalize(self._encode(images)[0].float(), dim=1)
        return interpolate(fine, images.shape[-2:], mode="bilinear", align_corners=False)

    def _encode(self, images: Tensor) -> list[Tensor]:
        scaled = (images - cast(Tensor, self.mean)) / cast(Tensor, self.std)
        return self.encoder(scaled.contiguous(memory_format=torch.channels_last))
