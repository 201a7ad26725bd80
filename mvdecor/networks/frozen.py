"""`FrozenEncoder`: features of a frozen convolutional encoder at all its resolutions, under a learned projection."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.channels import CHANNELS
from mvdecor.networks.encoders import check_frozen, checked_encoder


class FrozenEncoder(nn.Module):
    """Feature maps of a frozen encoder, each projected (1x1), enlarged bilinearly to the size of the input, and summed.

    Only the projections are trained: the convolutional counterpart of `FoundationFeatures`. A sum of projections is the
    projection of all maps side by side (a "hypercolumn", Hariharan et al., CVPR 2015), with less to enlarge.

    Args:
        in_channels: 3, for rgb.
        encoder: timm name of a convolutional encoder.
        embedding_dim: channels of the output.
        weights: None (random), "imagenet" or a file, see `mvdecor.networks.encoders.check_weights`.
        scale: images are enlarged by about this factor first: these encoders were trained on larger pictures.

    Attributes:
        channels: the input channels that the encoder was made for.

    Raises:
        InputError: a setting that is not possible, or weights that cannot be had.
    """

    channels: ClassVar[tuple[str, ...]] = ("rgb",)
    shift: Tensor
    factor: Tensor

    def __init__(
        self,
        in_channels: int,
        encoder: str = "tf_efficientnet_lite0",
        embedding_dim: int = 64,
        weights: str | None = "imagenet",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_frozen(encoder, in_channels, embedding_dim, scale)
        self.embedding_dim, self.scale = embedding_dim, scale
        with checked_encoder(encoder, weights) as source:
            features: Any = timm.create_model(encoder, weights is not None, features_only=True, **source)
            info = features.feature_info
        self.encoder: Any = features.requires_grad_(False).eval()
        self.stride = max(info.reduction())
        self.projections = nn.ModuleList(nn.Conv2d(c, embedding_dim, kernel_size=1) for c in info.channels())
        mean, std = torch.tensor(CHANNELS["rgb"].mean), torch.tensor(CHANNELS["rgb"].std)
        config = timm.get_pretrained_cfg(encoder)
        assert config is not None, "checked_encoder knows the encoder"
        encoder_mean, encoder_std = torch.tensor(config.mean), torch.tensor(config.std)
        self.register_buffer("factor", (std / encoder_std)[:, None, None])
        self.register_buffer("shift", ((mean - encoder_mean) / encoder_std)[:, None, None])

    def train(self, mode: bool = True) -> FrozenEncoder:
        """As `nn.Module.train`, but the encoder stays in evaluation mode."""
        super().train(mode)
        self.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], any H and W, to embeddings [B, embedding_dim, H, W]."""
        projected = [project(x) for project, x in zip(self.projections, self.maps(images), strict=True)]
        enlarged = [F.interpolate(x, images.shape[-2:], mode="bilinear", align_corners=False) for x in projected]
        return torch.stack(enlarged).sum(dim=0)

    @torch.no_grad()
    def maps(self, images: Tensor) -> list[Tensor]:
        """The encoder's feature maps of images [B, 3, H, W], finest first.

        Images are resized (bilinearly) to whole cells of the coarsest map: `ceil(scale * H / stride)` rows of them, and so on.
        """
        rows, columns = (max(1, math.ceil(self.scale * n / self.stride)) for n in images.shape[-2:])
        size = (rows * self.stride, columns * self.stride)
        if size != tuple(images.shape[-2:]):
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        return self.encoder(images * self.factor + self.shift)
