"""Radiance fields on disk: one safetensors file whose header says what the weights are of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from mvdecor.errors import InputError
from mvdecor.fields.grid import GridField
from mvdecor.fields.mlp import MLPField
from mvdecor.fields.radiance import SceneSpace
from mvdecor.files import write_atomically

FORMAT = "mvdecor radiance field 1"
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
    text = {"format": FORMAT, "field": dict(settings), "space": vars(space), **record}
    state = {name: values.detach().cpu().contiguous() for name, values in field.state_dict().items()}
    write_atomically(folder / FILE, save(state, {"record": json.dumps(text)}))


def load_radiance(
    folder: Path | str, device: torch.device | str = "cpu"
) -> tuple[GridField | MLPField, SceneSpace, dict[str, Any]]:
    """The field, the space of its scene, and its record.

    Raises:
        InputError: there is no such file, or it is damaged, of another kind, or of a class of somebody else's.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        raise InputError(f"{folder}: no {FILE} here; give the out/model of scripts/fit.py")
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if record.get("format") != FORMAT:
            raise InputError(f"{path}: this is no radiance field: give the out/model of scripts/fit.py")
        name, arguments = record["field"]["_target_"], {k: v for k, v in record["field"].items() if k != "_target_"}
        if name not in KINDS:
            raise InputError(f"{path}: is a field of class {name}, which is not of mvdecor: load it with your own code")
        field: Any = KINDS[name](**arguments)
        field.load_state_dict(state)
        space = SceneSpace(**record["space"] | {"center": tuple(record["space"]["center"])})
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({error}): copy it again, or fit again") from error
    return field.to(device).eval(), space, record
