"""A U-Net of label maps on disk, see `mvdecor.weights`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mvdecor.networks import Model, build_model
from mvdecor.weights import WEIGHTS, find_weights, open_weights, write_weights

KIND = "mvdecor view U-Net 1"
CHANNELS = ("rgb",)


def save_unet(folder: Path, model: Model, record: Mapping[str, Any]) -> None:
    """Write `folder/model.safetensors`; `record` holds plain values, `label_names` among them."""
    write_weights(folder / WEIGHTS, model.state_dict(), KIND, {"network": model.config, **record})


def load_unet(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Model, dict[str, Any]]:
    """The model in evaluation mode, and its record, with `weights_sha256`.

    Raises:
        InputError: there is no such file, or it is damaged or of another kind.
    """
    expected = "U-Net of label maps: give out/model of its own fine-tuning"
    with open_weights(unet_file(folder), KIND, expected) as (record, state):
        model = build_model(record["network"], CHANNELS, len(record["label_names"]), initial_weights=False)
        model.load_state_dict(state)
    return model.to(device).eval(), record


def unet_file(folder: Path | str) -> Path:
    """The file of a checkpoint. Raises InputError if there is none."""
    return find_weights(folder, "out/model of the U-Net's fine-tuning")
