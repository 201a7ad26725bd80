"""What both networks share about encoders: checking names, telling failures apart, fitting image sizes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

import timm
import torch.nn.functional as F
from torch import Tensor

from mvdecor.errors import InputError


def check_embedding_dim(embedding_dim: int) -> None:
    """Raise InputError unless `embedding_dim` is a positive integer."""
    if not isinstance(embedding_dim, int) or embedding_dim < 1:
        raise InputError(f"network.embedding_dim: must be a positive integer, got {embedding_dim!r}")


@contextmanager
def checked_encoder(encoder: str, weights: str | None) -> Iterator[None]:
    """Guard the construction of a network around a timm encoder.

    Args:
        encoder: a timm model name, with or without a weights tag ("resnet18", "resnet50.a1_in1k").
        weights: None (random) or "imagenet" (timm's default weights of that model, downloaded and cached).

    Raises:
        InputError: no such encoder (close names are listed), unknown or unavailable weights, a failed download, or an
            encoder that cannot give the feature maps that the network needs.
    """
    if not timm.is_model(encoder):
        close = difflib.get_close_matches(encoder, timm.list_models(), n=4, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise InputError(f"network.encoder: timm has no model {encoder!r}; {hint}")
    if weights not in (None, "imagenet"):
        raise InputError(f"network.weights: {weights!r} is unknown; use null (random) or imagenet")
    if weights and not timm.models.is_model_pretrained(encoder):
        raise InputError(f"network.weights: timm has no weights for encoder {encoder}; set network.weights=null")
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # timm and the download client raise anything from KeyError to their own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if weights:
            raise InputError(
                f"network.weights: the {weights} weights of encoder {encoder} could not be loaded ({reason}); "
                "connect to the internet once so that they are cached, or set network.weights=null"
            ) from error
        raise InputError(
            f"network.encoder: {encoder} cannot be the encoder of this network ({reason}); "
            "choose a convolutional one such as resnet18 or resnet50"
        ) from error


def pad_to_multiple(images: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column until height and width are multiples of `stride`.

    The border is repeated, not filled with zeros, so that no edge appears where there is none.

    Args:
        images: [B, C, H, W].

    Returns:
        [B, C, H', W'] with H' and W' the next multiples; crop the result of a network with `[..., :H, :W]`.
    """
    bottom, right = -images.shape[-2] % stride, -images.shape[-1] % stride
    return F.pad(images, (0, right, 0, bottom), mode="replicate") if bottom or right else images
