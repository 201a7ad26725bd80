"""The JSON result of a stage, and the key of settings and inputs that identifies it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from mvdecor.engine.content import Files
from mvdecor.engine.distributed import rank
from mvdecor.engine.provenance import code_of_process
from mvdecor.errors import InputError
from mvdecor.files import write_atomically, write_json

UNKNOWN = "not known yet"


def settings_of(cfg: DictConfig, keys: Iterable[str]) -> dict[str, Any]:
    """The values of some dotted keys, groups unfolded: {"views.count": 86, ...}. A key with "-" in front leaves out."""
    full_config: Any = OmegaConf.create(OmegaConf.to_container(cfg, resolve=True))
    selected: dict[str, Any] = {}
    for key in keys:
        if key.startswith("-"):
            left_out = key[1:]
            selected = {k: v for k, v in selected.items() if k != left_out and not k.startswith(f"{left_out}.")}
        else:
            selected |= _unfolded(key, OmegaConf.select(full_config, key))
    return selected


def _unfolded(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, DictConfig):
        return {k: v for name in value for k, v in _unfolded(f"{key}.{name!s}", value[name]).items()}
    return {key: OmegaConf.to_container(value) if OmegaConf.is_config(value) else value}


def changed(cfg: DictConfig, **values: Any) -> DictConfig:
    """A copy of a configuration with other values of some top-level keys; paths as text."""
    return OmegaConf.merge(cfg, {k: str(v) if isinstance(v, Path) else v for k, v in values.items()})  # type: ignore[return-value]


@dataclass(frozen=True)
class Key:
    """All that a result depends on, and no more.

    Attributes:
        settings: plain values by dotted key; one that is `UNKNOWN` yet agrees with any.
        files: what is read, by what it is: "checkpoint", "shapes", ...
    """

    settings: Mapping[str, Any]
    files: Mapping[str, Files] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """As plain values, with the identity of the files: what a result carries as "key"."""
        return {
            "settings": dict(self.settings),
            "content": {name: files.identity() for name, files in self.files.items()},
        }

    def differences(self, recorded: Mapping[str, Any]) -> list[str]:
        """What differs between a recorded key and this one, in words; empty if nothing does."""
        before, current = recorded["settings"], json.loads(json.dumps(dict(self.settings)))
        unset = "not set"
        settings = [
            f"{name}={before.get(name, unset)} there, {current.get(name, unset)} here"
            for name in sorted(before.keys() | current.keys())
            if before.get(name, unset) != current.get(name, unset) and current.get(name) != UNKNOWN
        ]
        content = recorded["content"]
        inputs = [
            f"the content of {name}"
            for name in sorted(content.keys() | self.files.keys())
            if name not in content or name not in self.files or not self.files[name].is_same(content[name])
        ]
        return settings + inputs


def read_result(file: Path, key: Key) -> dict | None:
    """The result in `file` if its key is this one; None if there is no file.

    Raises:
        InputError: it is a result of other settings or inputs, of an older version, or cannot be read.
    """
    if not file.exists():
        return None
    try:
        result = json.loads(file.read_bytes())
        recorded = result.get("key")
        differences = None if recorded is None else key.differences(recorded)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{file}: damaged result ({error}): remove it or choose another out=") from error
    if differences is None:
        raise InputError(
            f"{file} was written by an older version of mvdecor, which did not record what it had read, so it cannot be told "
            "whether it is the result of these settings and files: choose another out=, or move the old folder away"
        )
    if differences:
        raise InputError(
            f"{file} holds a result made with other settings or inputs ({'; '.join(differences)}): choose another out=, or "
            "remove that file to run the stage again"
        )
    return result


def write_result(file: Path, result: Mapping[str, Any], provenance: Mapping[str, Any], key: Mapping[str, Any]) -> dict:
    """Write a stage's JSON whole or not at all; beside it, in `code.diff`, how the code differs from its revision.

    Of several processes the first one writes.

    Args:
        file: the JSON file.
        result: what the stage found.
        provenance: see `provenance`, taken before the work.
        key: see `Key.record`, taken before the work.

    Returns:
        all that the file holds.
    """
    content = {**result, **provenance, "seed": provenance["config"]["seed"], "key": dict(key)}
    if rank() > 0:
        return content
    patch = file.with_name("code.diff")
    if changes := code_of_process()[1]:
        write_atomically(patch, changes.encode(errors="surrogateescape"))
    else:
        patch.unlink(missing_ok=True)  # of an earlier result
    write_json(file, content)
    return content
