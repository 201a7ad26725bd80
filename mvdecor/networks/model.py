"""`Model`: input normalisation, an embedding network and, once there are labels, a segmentation head."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

from mvdecor.channels import find_channel, num_channels
from mvdecor.errors import InputError


class SegmentationHead(nn.Sequential):
    """Embeddings [B, embedding_dim, H, W] to logits [B, num_labels, H, W]: the recipe's batch norm, ReLU, 3x3 conv."""

    def __init__(self, embedding_dim: int, num_labels: int) -> None:
        super().__init__(
            nn.BatchNorm2d(embedding_dim), nn.ReLU(), nn.Conv2d(embedding_dim, num_labels, kernel_size=3, padding=1)
        )
        self.num_labels = num_labels


class Model(nn.Module):
    """Images as they are rendered in, embeddings or logits out.

    Under distributed training the methods of `forward_methods` are called through the wrapper.

    Attributes:
        network: [B, C, H, W] normalised images to [B, D, H, W] embeddings.
        head: embeddings to logits, or None (pretraining).
        channels: names of the input channels in order, e.g. ("rgb", "depth"): C is the sum of their widths.
        config: settings of the network with every default written out; what a checkpoint stores and compares.
        mean, std: float32 [C] buffers, so they travel inside the checkpoint.

    Raises:
        InputError: a channel that is unknown or named twice, or no channel at all.
    """

    forward_methods = ("embed", "embed_and_segment")
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        channels: Sequence[str],
        head: SegmentationHead | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        mean, std = normalisation(channels)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.network = network
        self.head = head
        self.channels = tuple(channels)
        self.config = dict(config or {})

    @property
    def num_labels(self) -> int | None:
        """Labels that the head tells apart; None without a head."""
        return None if self.head is None else self.head.num_labels

    def embed(self, images: Tensor) -> Tensor:
        """Images float32 [B, C, H, W] (channel ranges as rendered, not normalised) to embeddings [B, D, H, W]."""
        if images.ndim != 4 or images.shape[1] != len(self.mean):
            raise InputError(
                f"images {list(images.shape)} do not fit the model, which takes [B, {len(self.mean)}, H, W] "
                f"for the channels {'+'.join(self.channels)}: render the channels that it was made for"
            )
        return self.network((images - self.mean[:, None, None]) / self.std[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] to logits [B, num_labels, H, W]; InputError if the model has no head."""
        return self.embed_and_segment(images)[1]

    def embed_and_segment(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] to embeddings [B, D, H, W] and their logits [B, num_labels, H, W] in one pass."""
        if self.head is None:
            raise InputError("this model has no segmentation head (it was pretrained only): fine-tune it first")
        embeddings = self.embed(images)
        return embeddings, self.head(embeddings)


def normalisation(channels: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Fixed mean and deviation of the named channels, float32 [C] each."""
    num_channels(channels)
    definitions = [find_channel(name) for name in channels]
    mean, std = (
        torch.tensor([v for c in definitions for v in c.mean]),
        torch.tensor([v for c in definitions for v in c.std]),
    )
    return mean, std


def build_model(
    network: Mapping[str, Any], channels: Sequence[str], num_labels: int | None, initial_weights: bool = True
) -> Model:
    """Make a model with new weights.

    Args:
        network: Hydra configuration of the embedding network: `_target_` and its arguments without `in_channels`. The
            class must be a `torch.nn.Module` that takes `in_channels` and has an `embedding_dim`; if it has `channels`,
            those are the only ones it takes.
        channels: names of the input channels in order.
        num_labels: labels of the head; None for a model without one.
        initial_weights: False where a checkpoint's weights follow at once: `network.weights` is remembered, and neither
            read nor downloaded.

    Raises:
        InputError: an unknown channel, class or setting, or a setting that the network refuses.
    """
    in_channels = len(normalisation(channels)[0])
    if num_labels is not None and num_labels < 1:
        raise InputError(f"a segmentation head needs at least one label, got {num_labels}: does the category have any?")
    config = complete_config(network)
    start_config = config if initial_weights or "weights" not in config else {**config, "weights": None}
    try:
        net = instantiate(start_config, in_channels=in_channels, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, InputError):
            raise error.__cause__ from None
        raise InputError(f"network: {config['_target_']} cannot be made: {error.__cause__ or error}") from error
    accepted = getattr(net, "channels", tuple(channels))
    if tuple(channels) != accepted:
        raise InputError(
            f"views.channels={'+'.join(channels)}: {config['_target_']} takes {'+'.join(accepted)} alone: set "
            f"views.channels=[{','.join(accepted)}]"
        )
    head = None if num_labels is None else SegmentationHead(net.embedding_dim, num_labels)
    return Model(net, channels, head, config)


def complete_config(network: Mapping[str, Any]) -> dict[str, Any]:
    """The network's configuration as plain values, with the defaults of its class written out.

    Written out, two configurations of the same network are equal whatever they left unsaid, and a checkpoint stays
    loadable when a default changes.

    Raises:
        InputError: no `_target_`, one that is not a network class, or a setting that the class does not have.
    """
    container = OmegaConf.to_container(OmegaConf.create(dict(network)), resolve=True)
    assert isinstance(container, dict)
    config: dict[str, Any] = {str(name): value for name, value in container.items()}
    target = _network_class(config)
    parameters = inspect.signature(target).parameters
    names = [n for n in parameters if n != "in_channels"]
    open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for name in config:
        if not name.startswith("_") and name not in names and not open_ended:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"did you mean {close[0]}?" if close else f"it has {', '.join(names)}"
            raise InputError(f"network.{name}: {config['_target_']} has no such setting; {hint}")
    for name in names:
        default = parameters[name].default
        if default is not inspect.Parameter.empty:
            config.setdefault(name, list(default) if isinstance(default, tuple) else default)
    return config


def _network_class(config: Mapping[Any, Any]) -> type:
    """The class of `_target_`. Only modules are let through: a checkpoint may come from somebody else."""
    path = str(config.get("_target_") or "")
    if not path:
        raise InputError("network: no _target_; name its class, e.g. _target_: mvdecor.networks.UNet")
    module, _, name = path.rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise InputError(f"network._target_: there is no class {path!r} ({error}); give its full path") from error
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        raise InputError(f"network._target_: {path} is not a torch.nn.Module; give the path of a network class")
    for value in config.values():
        _check_nested(value)
    return target


def _check_nested(value: Any) -> None:
    """Apply `_network_class` to every `_target_` inside a setting, since Hydra instantiates those too."""
    if isinstance(value, Mapping):
        if "_target_" in value:
            _network_class(value)
        else:
            _check_nested(list(value.values()))
    elif isinstance(value, list):
        for element in value:
            _check_nested(element)
