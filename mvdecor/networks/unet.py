"""`UNet`: the default embedding network."""

from __future__ import annotations

from collections.abc import Sequence

import segmentation_models_pytorch as smp
from torch import Tensor, nn

from mvdecor.errors import InputError
from mvdecor.networks.encoders import check_embedding_dim, checked_encoder, pad_to_multiple


class UNet(nn.Module):
    """A U-Net on any timm encoder: one embedding per pixel, at the size of the input.

    Lighter than the recipe's DeepLabV3+ and sharper at thin parts, since the decoder sees every resolution.

    Args:
        in_channels: channels of the input images.
        encoder: timm model name. It must offer feature maps at strides 2, 4, 8, ... or 4, 8, ...
        decoder_channels: channels of the decoder from the coarsest level to full size. Its length (1 to 5) is the depth
            of the encoder that is used: with 4, the coarsest features have stride 16.
        embedding_dim: channels of the output.
        weights: None, "imagenet" or a file for the encoder, see `mvdecor.networks.encoders.check_weights`.

    Raises:
        InputError: a setting that is not possible, or weights that cannot be had.
    """

    def __init__(
        self,
        in_channels: int,
        encoder: str = "resnet18",
        decoder_channels: Sequence[int] = (256, 128, 64, 64, 64),
        embedding_dim: int = 64,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        _check_decoder(decoder_channels)
        check_embedding_dim(embedding_dim)
        self.embedding_dim = embedding_dim
        self.stride = 2 ** len(decoder_channels)
        with checked_encoder(encoder, weights) as source:
            self.unet = smp.Unet(
                encoder_name=f"tu-{encoder}",
                encoder_depth=len(decoder_channels),
                encoder_weights=True if weights else None,  # smp's way to say pretrained=True for tu- encoders
                decoder_channels=tuple(decoder_channels),
                in_channels=in_channels,
                classes=embedding_dim,
                **source,
            )

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, in_channels, H, W], any H and W, to embeddings [B, embedding_dim, H, W]."""
        height, width = images.shape[-2:]
        return self.unet(pad_to_multiple(images, self.stride))[..., :height, :width]


def _check_decoder(channels: Sequence[int]) -> None:
    is_list = isinstance(channels, Sequence) and 1 <= len(channels) <= 5
    if not is_list or not all(isinstance(c, int) and c > 0 for c in channels):
        raise InputError(f"network.decoder_channels: give a list of 1 to 5 positive integers, got {channels!r}")
