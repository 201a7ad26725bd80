"""`DeepLabV3Plus`: the embedding network of the paper's recipe."""

from __future__ import annotations

from segmentation_models_pytorch.base.initialization import initialize_decoder
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from segmentation_models_pytorch.encoders import get_encoder
from torch import Tensor, nn

from mvdecor.errors import InputError
from mvdecor.networks.encoders import check_embedding_dim, checked_encoder, pad_to_multiple

DECODER_CHANNELS = 256
STRIDE = 8


class DeepLabV3Plus(nn.Module):
    """DeepLabV3+ (output stride 8, ASPP rates 12/24/36) whose 256 channels at 1/4 are brought to full size in 2 steps.

    Each step is batch norm, ReLU, bilinear x2, 3x3 convolution: 256 -> 128 -> 64 channels. Source: Sharma et al., ECCV
    2022, implementation details, and the released code.

    Args:
        in_channels: channels of the input images.
        encoder: timm model name; it must support dilation to output stride 8 (ResNets and most convolutional ones).
        embedding_dim: channels of the output.
        weights: None (as in the paper's MvDeCor rows), "imagenet" or a file for the encoder, see
            `mvdecor.networks.encoders.check_weights`.

    Raises:
        InputError: a setting that is not possible, or weights that cannot be had.
    """

    def __init__(
        self, in_channels: int, encoder: str = "resnet50", embedding_dim: int = 64, weights: str | None = None
    ) -> None:
        super().__init__()
        check_embedding_dim(embedding_dim)
        self.embedding_dim = embedding_dim
        with checked_encoder(encoder, weights) as source:
            self.encoder = get_encoder(
                f"tu-{encoder}",
                in_channels=in_channels,
                depth=5,
                weights=True if weights else None,
                output_stride=STRIDE,
                **source,
            )
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=self.encoder.out_channels,
            encoder_depth=5,
            out_channels=DECODER_CHANNELS,
            atrous_rates=(12, 24, 36),
            output_stride=STRIDE,
            aspp_separable=True,
            aspp_dropout=0.5,
        )
        self.upsampling = nn.Sequential(*_upsample(DECODER_CHANNELS, 128), *_upsample(128, embedding_dim))
        initialize_decoder(self.decoder)
        initialize_decoder(self.upsampling)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images [B, in_channels, H, W], any H and W, to embeddings [B, embedding_dim, H, W].

        Raises:
            InputError: one image in the whole batch in training mode: batch norm after global pooling has no variance then.
                One image per process is enough where batch norms are synchronised, and where they keep their statistics.
        """
        height, width = images.shape[-2:]
        features = self.encoder(pad_to_multiple(images, STRIDE))
        try:
            decoded = self.decoder(features)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise InputError(
                "DeepLabV3Plus trains on 2 images per batch or more (batch norm after global pooling)"
            ) from error
        return self.upsampling(decoded)[..., :height, :width]


def _upsample(channels: int, out_channels: int) -> list[nn.Module]:
    return [
        nn.BatchNorm2d(channels),
        nn.ReLU(),
        nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
        nn.Conv2d(channels, out_channels, kernel_size=3, padding=1),
    ]
