"""timm encoders for all networks: names, initial weights, error messages, padding of images."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models import load_state_dict
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.networks.packaged import PACKAGED, packaged_file, packaged_weights
from mvdecor.settings import shown

DOWNLOADS = ("imagenet", "pretrained")
"""Words for timm's own weights of an encoder, downloaded and cached; "pretrained" reads better where they saw more."""

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
"""Endings of a file of weights; all but the first are read by `torch.load(weights_only=True)`."""

CONVOLUTIONAL = "a convolutional one such as resnet18 or resnet50"


def check_embedding_dim(embedding_dim: int) -> None:
    """Raise InputError unless `embedding_dim` is a positive integer."""
    if not isinstance(embedding_dim, int) or embedding_dim < 1:
        raise InputError(f"network.embedding_dim: must be a positive integer, got {embedding_dim!r}")


@contextmanager
def checked_encoder(encoder: str, weights: str | None, example: str = CONVOLUTIONAL) -> Iterator[dict[str, Any]]:
    """Guard the construction of a network around a timm encoder.

    Args:
        encoder: a timm model name, with or without a weights tag ("resnet18", "resnet50.a1_in1k").
        weights: None (random), one of `DOWNLOADS`, or a file, see `check_weights`.
        example: what an encoder of this network is, for the message.

    Yields:
        what `timm.create_model` needs besides `pretrained=weights is not None`. timm adapts the first convolution to the
        number of input channels: the file's R, G, B kernels are repeated in turn up to C channels and scaled by 3/C, and
        summed for C = 1 (`timm.models.adapt_input_conv`).

    Raises:
        InputError: no such encoder (close names are listed), unknown or unavailable weights, a failed download, or an
            encoder that cannot give the feature maps that the network needs.
    """
    check_weights(encoder, weights)
    try:
        yield _overlay(encoder, weights)
    except InputError:
        raise
    except Exception as error:  # timm and the download client raise anything from KeyError to their own types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if weights in DOWNLOADS:
            raise InputError(
                f"network.weights: the {weights} weights of encoder {encoder} could not be loaded ({reason}); connect to "
                "the internet once so that they are cached, give a file of them, or set network.weights=null"
            ) from error
        raise InputError(
            f"network.encoder: {encoder} cannot be the encoder of this network ({reason}); choose {example}"
        ) from error


def _overlay(encoder: str, weights: str | None) -> dict[str, Any]:
    """What tells timm where the weights are; nothing where it knows itself, or needs none."""
    if weights == "imagenet" and encoder in PACKAGED:
        return {"pretrained_cfg_overlay": {"state_dict": packaged_weights(encoder)}}
    return {} if weights is None or weights in DOWNLOADS else {"pretrained_cfg_overlay": {"file": weights}}


def check_weights(encoder: str, weights: str | None) -> None:
    """Refuse an encoder or weights that cannot be; downloads nothing.

    Args:
        encoder: a timm model name.
        weights: None, one of `DOWNLOADS` ("imagenet" of an encoder in `PACKAGED` comes as a package instead), or a file that
            holds the state dict of timm's model `encoder` as it is made (3 input channels, its own image size), with any
            classifier or without one.

    Raises:
        InputError: no such encoder; no such file or package; a file that is damaged or of another encoder.
    """
    if not timm.is_model(encoder):
        close = difflib.get_close_matches(encoder, timm.list_models(), n=4, cutoff=0.5)
        hint = f"did you mean {', '.join(close)}?" if close else "timm.list_models() lists them"
        raise InputError(f"network.encoder: timm has no model {encoder!r}; {hint}")
    if weights is None:
        return
    if not isinstance(weights, str):
        raise InputError(f"network.weights={shown(weights)}: give null, {', '.join(DOWNLOADS)}, or the name of a file")
    if weights == "imagenet" and encoder in PACKAGED:
        packaged_file(encoder)
        return
    if weights in DOWNLOADS:
        if not timm.models.is_model_pretrained(encoder):
            raise InputError(f"network.weights: timm has no weights for encoder {encoder}; set network.weights=null")
        return
    state = read_state(weights, encoder)
    with torch.device("meta"):
        model: Any = timm.create_model(encoder)
    classifier = model.pretrained_cfg.get("classifier") or ()
    classifiers = tuple(f"{name}." for name in ([classifier] if isinstance(classifier, str) else classifier))
    encoder_shapes = {k: v.shape for k, v in model.state_dict().items() if not k.startswith(classifiers)}
    file_shapes = {k: v.shape for k, v in state.items() if not k.startswith(classifiers)}
    differing = {k for k in encoder_shapes.keys() | file_shapes.keys() if encoder_shapes.get(k) != file_shapes.get(k)}
    wrong = [k for k in (*encoder_shapes, *file_shapes) if k in differing and not k.endswith("num_batches_tracked")]
    if wrong:
        first = wrong[0]
        in_encoder = tuple(encoder_shapes[first]) if first in encoder_shapes else "none"
        in_file = tuple(file_shapes[first]) if first in file_shapes else "none"
        raise InputError(
            f"network.weights: {weights} is not of encoder {encoder}: {len(set(wrong))} tensors differ (first: {first}, "
            f"{in_encoder} in the encoder, {in_file} in the file); give the state dict of timm's {encoder}, or set "
            "network.encoder"
        )


def read_state(weights: str, encoder: str) -> dict[str, Tensor]:
    """The tensors of a file of weights; InputError unless it is a readable state dict."""
    path = Path(weights)
    if not path.is_file() or path.suffix not in SUFFIXES:
        reason = f"must end in {', '.join(SUFFIXES)}" if path.is_file() else "is no file"
        raise InputError(
            f"network.weights={weights} is unknown: it {reason}; give null, imagenet or pretrained (downloads), or a file "
            f"with the state dict of timm's {encoder}"
        )
    try:
        state = load_state_dict(str(path))  # as timm will read it, for pickles with weights_only=True
    except Exception as error:  # on damaged bytes the readers raise anything from OSError to struct.error
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"network.weights: {path} is damaged or no state dict ({reason}): copy it again") from error
    if not isinstance(state, dict) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(
            f"network.weights: {path} is no state dict of tensors: save model.state_dict() of timm's {encoder}"
        )
    return state


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


def check_frozen(encoder: str, in_channels: int, embedding_dim: int, scale: float) -> None:
    """Refuse what a network on a frozen encoder of pictures cannot take: channels besides rgb, a bad width or scale."""
    check_embedding_dim(embedding_dim)
    if in_channels != 3:
        raise InputError(
            f"views.channels: {encoder} takes rgb alone, got {in_channels} channels: set views.channels=[rgb]"
        )
    if not isinstance(scale, int | float) or isinstance(scale, bool) or not 0 < scale < math.inf:
        raise InputError(f"network.scale: must be a number above 0, got {scale!r}")
