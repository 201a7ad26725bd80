"""A U-Net of label maps on disk: one safetensors file whose header says what the weights are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mvdecor.errors import InputError
from mvdecor.files import content_hash, write_atomically
from mvdecor.networks import Model, build_model

FORMAT = "mvdecor view U-Net 1"
WEIGHTS = "model.safetensors"
CHANNELS = ("rgb",)


def save_unet(folder: Path, model: Model, record: Mapping[str, Any]) -> None:
    """Write `folder/model.safetensors`; `record` holds plain values, `label_names` among them."""
    text = {"format": FORMAT, "network": model.config, **record}
    state = {name: values.detach().cpu().contiguous() for name, values in model.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(state, {"record": json.dumps(text)}))


def load_unet(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Model, dict[str, Any]]:
    """The model in evaluation mode, and its record, with `weights_sha256`.

    Raises:
        InputError: there is no such file, or it is damaged or of another kind.
    """
    path = unet_file(folder)
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if record.get("format") != FORMAT:
            raise InputError(f"{path}: this is no U-Net of label maps: give out/model of its own fine-tuning")
        model = build_model(record["network"], CHANNELS, len(record["label_names"]), initial_weights=False)
        model.load_state_dict(state)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: damaged ({error}): copy it again, or train again") from error
    return model.to(device).eval(), record | {"weights_sha256": content_hash(path).hex()}


def unet_file(folder: Path | str) -> Path:
    """The file of a checkpoint. Raises InputError if there is none."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder}: no {WEIGHTS} here; give out/model of the U-Net's fine-tuning")
    return path
