"""Weights on disk: one safetensors file whose header says what they are of, so that nothing can be half written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import content_hash, write_atomically

WEIGHTS = "model.safetensors"


def find_weights(folder: Path | str, source: str, name: str = WEIGHTS) -> Path:
    """The file of weights in a folder. Raises InputError if there is none; `source` says which folder to give."""
    path = Path(folder) / name
    if not path.is_file():
        raise InputError(f"{folder}: no {name} here; give {source}")
    return path


def write_weights(file: Path, tensors: Mapping[str, Tensor], kind: str, record: Mapping[str, Any]) -> None:
    """Write a file of weights.

    Args:
        file: its folder is made if it is not there.
        tensors: on any device.
        kind: of what they are, with the version of the format; `open_weights` asks for it.
        record: plain values to go along.
    """
    state = {name: values.detach().cpu().contiguous() for name, values in tensors.items()}
    write_atomically(file, save(state, {"record": json.dumps({"format": kind, **record})}))


@contextmanager
def open_weights(file: Path, kind: str, expected: str) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """The record of a file of weights, with `weights_sha256`, and its tensors on the CPU.

    Whatever is wrong with them while the caller makes something of them is reported as damage of the file.

    Args:
        file: see `find_weights`.
        kind: as given to `write_weights`.
        expected: what the file should be and where that is found, for the message.

    Raises:
        InputError: the file is damaged, or of another kind.
    """
    try:
        with safe_open(file, "pt") as content:
            record = json.loads((content.metadata() or {}).get("record", "{}"))
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
        if record.get("format") != kind:
            raise InputError(f"{file}: this is no {expected}")
        yield record | {"weights_sha256": content_hash(file).hex()}, tensors
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:
        raise InputError(f"{file}: damaged ({error}): copy it again, or make it again") from error


def is_of_kind(file: Path, kind: str) -> bool:
    """Whether a file holds weights of a kind; False for one that cannot be read."""
    try:
        with safe_open(file, "pt") as content:
            return json.loads((content.metadata() or {}).get("record", "{}")).get("format") == kind
    except (SafetensorError, OSError, ValueError):
        return False
