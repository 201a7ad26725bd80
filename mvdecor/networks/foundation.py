"""`FoundationFeatures`: a frozen vision transformer under a learned projection, the baseline without any training on shapes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import timm
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvdecor.channels import CHANNELS
from mvdecor.networks.encoders import check_frozen, checked_encoder


class FoundationFeatures(nn.Module):
    """Patch tokens of a frozen ViT, projected (1x1) and upsampled bilinearly to one embedding per pixel.

    Only the projection is trained. It is applied before the upsampling: the two commute, and few channels are cheaper to
    enlarge than many. Default weights: DINOv2 (Oquab et al., 2023).

    Args:
        in_channels: 3, for rgb.
        encoder: timm ViT name.
        embedding_dim: channels of the output.
        weights: None (random), "pretrained" or a file, see `mvdecor.networks.encoders.check_weights`.
        scale: images are enlarged by about this factor first, so that thin parts get patches of their own.

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
        encoder: str = "vit_small_patch14_dinov2.lvd142m",
        embedding_dim: int = 64,
        weights: str | None = "pretrained",
        scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_frozen(encoder, in_channels, embedding_dim, scale)
        self.embedding_dim = embedding_dim
        self.scale = scale
        with checked_encoder(encoder, weights, example="a ViT such as vit_small_patch14_dinov2") as source:
            vit: Any = timm.create_model(encoder, weights is not None, num_classes=0, dynamic_img_size=True, **source)
            self.patch: tuple[int, int] = vit.patch_embed.patch_size
            self.prefix: int = vit.num_prefix_tokens
        self.vit: Any = vit.requires_grad_(False).eval()
        self.projection = nn.Conv2d(vit.num_features, embedding_dim, kernel_size=1)
        mean, std = torch.tensor(CHANNELS["rgb"].mean), torch.tensor(CHANNELS["rgb"].std)
        encoder_mean, encoder_std = (torch.tensor(vit.pretrained_cfg[name]) for name in ("mean", "std"))
        self.register_buffer("factor", (std / encoder_std)[:, None, None])
        self.register_buffer("shift", ((mean - encoder_mean) / encoder_std)[:, None, None])

    def train(self, mode: bool = True) -> FoundationFeatures:
        """As `nn.Module.train`, but the encoder stays in evaluation mode."""
        super().train(mode)
        self.vit.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, 3, H, W], any H and W, to embeddings [B, embedding_dim, H, W]."""
        embeddings = self.projection(self.tokens(images))
        return F.interpolate(embeddings, images.shape[-2:], mode="bilinear", align_corners=False)

    @torch.no_grad()
    def tokens(self, images: Tensor) -> Tensor:
        """The encoder's patch tokens after its last norm, [B, features, rows, columns].

        Images [B, 3, H, W] are resized (bilinearly) to whole patches: `ceil(scale * H / patch)` rows of them, and so on.
        """
        rows, columns = (
            max(1, math.ceil(self.scale * n / p)) for n, p in zip(images.shape[-2:], self.patch, strict=True)
        )
        size = (rows * self.patch[0], columns * self.patch[1])
        if size != tuple(images.shape[-2:]):
            images = F.interpolate(images, size, mode="bilinear", align_corners=False)
        tokens = self.vit.forward_features(images * self.factor + self.shift)[:, self.prefix :]
        return tokens.transpose(1, 2).unflatten(2, (rows, columns))
