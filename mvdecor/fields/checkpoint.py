"""Fields on disk, see `mvdecor.weights`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mvdecor.fields.field import ConditionalField
from mvdecor.fields.settings import FieldSettings
from mvdecor.weights import WEIGHTS, find_weights, open_weights, write_weights

KIND = "mvdecor field 1"


def save_field(folder: Path, field: ConditionalField, record: Mapping[str, Any]) -> None:
    """Write `folder/model.safetensors`.

    Args:
        folder: made if it is not there.
        field: on any device.
        record: plain values: `ids` of the training captures in the order of the codes, `label_names`, ...
    """
    head = {"points_to_head": field.points_to_head, "head_kind": field.head_kind}
    text = {"field": field.settings.model_dump(), **head, **record}
    write_weights(folder / WEIGHTS, field.state_dict(), KIND, text)


def load_field(folder: Path | str, device: torch.device | str = "cpu") -> tuple[ConditionalField, dict[str, Any]]:
    """The field in evaluation mode, and its record, with `weights_sha256`.

    Raises:
        InputError: there is no such file, or it is damaged or of another kind.
    """
    expected = "field of Semantic SRN: give the out/model of its pretraining or fine-tuning"
    with open_weights(field_file(folder), KIND, expected) as (record, state):
        labels, settings = len(record["label_names"]), FieldSettings.of(record["field"])
        # files of before there was a U-Net count the head's hidden layers, those of before there was a choice have neither
        head_kind = record.get("head_kind", "mlp" if record.get("head_layers") else "linear")
        field = ConditionalField(settings, len(record["ids"]), labels, record["points_to_head"], head_kind)
        field.load_state_dict(state)
    return field.to(device).eval(), record


def field_file(folder: Path | str) -> Path:
    """The file of a checkpoint. Raises InputError if there is none."""
    return find_weights(folder, "the out/model of a stage of Semantic SRN")
