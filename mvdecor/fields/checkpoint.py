"""Fields on disk: one safetensors file whose header says what the weights are of, so that nothing can be half written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from mvdecor.errors import InputError
from mvdecor.fields.field import ConditionalField
from mvdecor.fields.settings import FieldSettings
from mvdecor.files import content_hash, write_atomically

FORMAT = "mvdecor field 1"
WEIGHTS = "model.safetensors"


def save_field(folder: Path, field: ConditionalField, record: Mapping[str, Any]) -> None:
    """Write `folder/model.safetensors`.

    Args:
        folder: made if it is not there.
        field: on any device.
        record: plain values: `ids` of the training captures in the order of the codes, `label_names`, ...
    """
    head = {"points_to_head": field.points_to_head, "head_kind": field.head_kind}
    text = {"format": FORMAT, "field": field.settings.model_dump(), **head, **record}
    state = {name: values.detach().cpu().contiguous() for name, values in field.state_dict().items()}
    write_atomically(folder / WEIGHTS, save(state, {"record": json.dumps(text)}))


def load_field(folder: Path | str, device: torch.device | str = "cpu") -> tuple[ConditionalField, dict[str, Any]]:
    """The field in evaluation mode, and its record, with `weights_sha256`.

    Raises:
        InputError: there is no such file, or it is damaged or of another kind.
    """
    path = field_file(folder)
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if record.get("format") != FORMAT:
            raise InputError(
                f"{path}: this is no field of Semantic SRN: give the out/model of its pretraining or fine-tuning"
            )
        labels, settings = len(record["label_names"]), FieldSettings.of(record["field"])
        # files of before there was a U-Net count the head's hidden layers, those of before there was a choice have neither
        head_kind = record.get("head_kind", "mlp" if record.get("head_layers") else "linear")
        field = ConditionalField(settings, len(record["ids"]), labels, record["points_to_head"], head_kind)
        field.load_state_dict(state)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError(f"{path}: damaged ({error}): copy it again, or train again") from error
    return field.to(device).eval(), record | {"weights_sha256": content_hash(path).hex()}


def field_file(folder: Path | str) -> Path:
    """The file of a checkpoint. Raises InputError if there is none."""
    path = Path(folder) / WEIGHTS
    if not path.is_file():
        raise InputError(f"{folder}: no {WEIGHTS} here; give the out/model of a stage of Semantic SRN")
    return path
