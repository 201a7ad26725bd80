"""Radiance fields on disk, see `mvdecor.weights`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvdecor.errors import InputError
from mvdecor.fields.grid import GridField
from mvdecor.fields.mlp import MLPField
from mvdecor.fields.radiance import SceneSpace
from mvdecor.weights import find_weights, open_weights, write_weights

KIND = "mvdecor radiance field 1"
FILE = "radiance.safetensors"
KINDS: dict[str, type[nn.Module]] = {f"mvdecor.fields.{kind.__name__}": kind for kind in (GridField, MLPField)}
"""What may be made by name: a file from elsewhere names nothing else."""


def save_radiance(
    folder: Path, field: nn.Module, settings: Mapping[str, Any], space: SceneSpace, record: Mapping[str, Any]
) -> None:
    """Write `folder/radiance.safetensors`.

    Args:
        folder: made if it is not there.
        field: on any device.
        settings: `_target_` and arguments that it was made with.
        space: of the scene.
        record: more plain values.
    """
    text = {"field": dict(settings), "space": vars(space), **record}
    write_weights(folder / FILE, field.state_dict(), KIND, text)


def load_radiance(
    folder: Path | str, device: torch.device | str = "cpu"
) -> tuple[GridField | MLPField, SceneSpace, dict[str, Any]]:
    """The field, the space of its scene, and its record.

    Raises:
        InputError: there is no such file, or it is damaged, of another kind, or of a class of somebody else's.
    """
    path = find_weights(folder, "the out/model of scripts/fit.py", FILE)
    with open_weights(path, KIND, "radiance field: give the out/model of scripts/fit.py") as (record, state):
        name, arguments = record["field"]["_target_"], {k: v for k, v in record["field"].items() if k != "_target_"}
        if name not in KINDS:
            raise InputError(f"{path}: is a field of class {name}, which is not of mvdecor: load it with your own code")
        field: Any = KINDS[name](**arguments)
        field.load_state_dict(state)
        space = SceneSpace(**record["space"] | {"center": tuple(record["space"]["center"])})
    return field.to(device).eval(), space, record
