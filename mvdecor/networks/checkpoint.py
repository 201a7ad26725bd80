"""Checkpoints: a folder with `model.safetensors` (weights and input normalisation) and `checkpoint.json` (the rest).

`README.md` beside them is the same for people: a model card. Where a folder is read, `hf:OWNER/NAME` will do too.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import Container, OmegaConf
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as tensors_to_bytes
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.networks import hub
from mvdecor.networks.card import model_card
from mvdecor.networks.model import Model, build_model

FORMAT = "mvdecor-checkpoint-1"
WEIGHTS = "model.safetensors"
RECORD = "checkpoint.json"
CARD = "README.md"
FILES = (WEIGHTS, RECORD, CARD)
KINDS = ("pretrained", "finetuned")


def save_checkpoint(folder: Path | str, model: Model, metadata: Mapping[str, Any]) -> None:
    """Write a checkpoint, replacing the one that `folder` may hold.

    All files are written and synced in a folder beside it, which then takes its name; whatever interrupts this,
    `load_checkpoint` finds the whole old checkpoint or the whole new one.

    Args:
        folder: the checkpoint's folder; its parents are made.
        model: a model of `build_model`, on any device.
        metadata: plain values to keep with it: `kind` ("pretrained" or "finetuned"), `label_names`, `views` (their
            configuration), `revision`, `metrics`, ... Network, channels and number of labels come from the model.

    Raises:
        InputError: `folder` is a file or holds files that are not a checkpoint's (they would be lost).
        ValueError: `metadata` contradicts the model or has no valid `kind`.
    """
    folder = Path(folder)
    _check_replaceable(folder)
    weights = tensors_to_bytes({k: v.detach().cpu().contiguous() for k, v in model.state_dict().items()})
    text = json.dumps(_record(model, metadata, weights), indent=2, default=_plain) + "\n"
    card = model_card(json.loads(text))
    folder.parent.mkdir(parents=True, exist_ok=True)
    new_folder = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(new_folder, ignore_errors=True)  # of a process that was killed
    try:
        new_folder.mkdir()
        _write_synced(new_folder / WEIGHTS, weights)
        _write_synced(new_folder / RECORD, text.encode())
        _write_synced(new_folder / CARD, card.encode())
        _sync_folder(new_folder)
        _swap(new_folder, folder)
    finally:
        shutil.rmtree(new_folder, ignore_errors=True)


def load_checkpoint(folder: Path | str, device: torch.device | str = "cpu") -> tuple[Model, dict[str, Any]]:
    """Read a checkpoint back.

    Args:
        folder: a folder of `save_checkpoint`, or hf:OWNER/NAME on the Hugging Face hub.
        device: where the model goes.

    Returns:
        the model in evaluation mode, with the normalisation it was trained with, and what `checkpoint.json` says.

    Raises:
        InputError: the folder or a file is missing, damaged, of another format, or does not fit this code's network.
    """
    path = _find(Path(folder))
    metadata = _read_metadata(path)
    try:
        model = build_model(metadata["network"], metadata["channels"], metadata["num_labels"], initial_weights=False)
    except Exception as error:  # an edited or damaged description can name anything
        raise InputError(f"{path / RECORD}: the model it describes cannot be made: {error}") from error
    _load_state(model, _read_weights(path, metadata), path)
    return model.to(device).eval(), metadata


def load_pretrained(model: Model, folder: Path | str, label_names: Sequence[str] = ()) -> dict[str, Any]:
    """Copy the network's weights and input normalisation of a checkpoint into `model`; its head stays as it is, unless the
    checkpoint has one for the same labels.

    Args:
        model: a model of the same network and channels, on any device; changed in place.
        folder: a folder of `save_checkpoint`, or hf:OWNER/NAME.
        label_names: of the model's head.

    Returns:
        what the checkpoint's `checkpoint.json` says.

    Raises:
        InputError: as `load_checkpoint`, or the checkpoint is of another network or other channels; the message names
            every setting that differs.
    """
    path = _find(Path(folder))
    metadata = _read_metadata(path)
    differences = _differences(model, metadata)
    if differences:
        raise InputError(
            f"{path}: this checkpoint is of another model: {'; '.join(differences)}. "
            "Use the checkpoint's settings, or pretrain again with these"
        )
    state = _read_weights(path, metadata)
    if model.head is None or not label_names or metadata.get("label_names") != list(label_names):
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        state |= {k: v for k, v in model.state_dict().items() if k.startswith("head.")}
    _load_state(model, state, path)
    return metadata


def weights_file(folder: Path | str) -> Path:
    """The file of a checkpoint that tells one model from another.

    Raises:
        InputError: there is no checkpoint in `folder`.
    """
    return _find(Path(folder)) / WEIGHTS


def checkpoint_info(folder: Path | str) -> dict[str, Any]:
    """What `checkpoint.json` says.

    Raises:
        InputError: there is no checkpoint in `folder`, or its description is damaged.
    """
    return _read_metadata(_find(Path(folder)))


def push_to_hub(folder: Path | str, name: str, private: bool = False) -> str:
    """Send a checkpoint to the Hugging Face hub, where `hf:OWNER/NAME` finds it.

    `checkpoint.json` goes along as it is, with the configuration of the training and the folders named there.

    Args:
        folder: a folder of `save_checkpoint`.
        name: OWNER/NAME of the repository; made if it does not exist.
        private: make it private.

    Returns:
        the address of the repository.

    Raises:
        InputError: the folder holds no checkpoint, or the hub refuses.
    """
    path = _find(Path(folder))
    _read_weights(path, _read_metadata(path))  # nothing damaged is sent
    return hub.upload(path, name, FILES, private)


def _record(model: Model, metadata: Mapping[str, Any], weights: bytes) -> dict[str, Any]:
    fixed = {
        "format": FORMAT,
        "network": model.config,
        "channels": list(model.channels),
        "num_labels": model.num_labels,
        "weights_sha256": hashlib.sha256(weights).hexdigest(),
    }
    if clash := sorted(fixed.keys() & metadata.keys()):
        raise ValueError(f"metadata must not hold {', '.join(clash)}: the checkpoint takes them from the model")
    if not model.config:
        raise ValueError("the model has no config: make it with build_model")
    if metadata.get("kind") not in KINDS:
        raise ValueError(f"metadata['kind'] must be one of {KINDS}, got {metadata.get('kind')!r}")
    names = metadata.get("label_names")
    if model.num_labels is not None and names is not None and len(names) != model.num_labels:
        raise ValueError(f"{len(names)} label_names for a head of {model.num_labels} labels")
    return {**fixed, **metadata}


def _plain(value: Any) -> Any:
    if isinstance(value, Container):
        return OmegaConf.to_container(value, resolve=True)
    raise TypeError(f"info must hold plain values, not {type(value).__name__}")


def _check_replaceable(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is a file: choose another folder for the checkpoint")
    if folder.is_dir() and (foreign := sorted(p.name for p in folder.iterdir() if p.name not in FILES)):
        raise InputError(
            f"{folder} holds files that are not a checkpoint's ({', '.join(foreign[:3])}) and would be lost: "
            "choose another folder for the checkpoint"
        )


def _write_synced(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _previous(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _swap(new_folder: Path, folder: Path) -> None:
    """Give `new` the name of `folder`. No system call replaces a full folder, so the old one is renamed first."""
    old_folder = _previous(folder)
    if folder.exists():
        shutil.rmtree(old_folder, ignore_errors=True)
        folder.rename(old_folder)
    try:
        new_folder.rename(folder)
    except OSError:
        if old_folder.exists():
            old_folder.rename(folder)
        raise
    _sync_folder(folder.parent)
    shutil.rmtree(old_folder, ignore_errors=True)


def _find(folder: Path) -> Path:
    """The folder to read: from the hub, or the old one under its other name if a save was killed between its two renames."""
    if str(folder).startswith(hub.PREFIX):
        return hub.download(str(folder), FILES)
    if (folder / WEIGHTS).exists() or (folder / RECORD).exists():
        return folder
    if _previous(folder).is_dir():
        return _previous(folder)
    below = sorted(file.parent for depth in ("*", "*/*", "*/*/*") for file in folder.glob(f"{depth}/{RECORD}"))
    if below:
        names = " or ".join(str(path) for path in below[:4])
        raise InputError(f"{folder}: is the folder of a run, not of a checkpoint: give {names}")
    raise InputError(f"{folder}: no checkpoint folder here; give the folder that holds {WEIGHTS} and {RECORD}")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: the checkpoint is incomplete; copy it again or train again") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the file and its permissions") from error


def _read_metadata(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    try:
        metadata = json.loads(_read(path))
    except InputError:
        raise
    except ValueError as error:  # not UTF-8 or not JSON
        raise InputError(f"{path} is damaged ({error}): copy the checkpoint again or train again") from error
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        stored_format = metadata.get("format") if isinstance(metadata, dict) else None
        raise InputError(
            f"{path}: format {stored_format!r} where {FORMAT!r} is read; use the version of mvdecor that wrote it"
        )
    missing = [k for k in ("network", "channels", "num_labels", "weights_sha256") if k not in metadata]
    if missing or not isinstance(metadata["network"], dict) or not isinstance(metadata["channels"], list):
        fault = f"no {', '.join(missing)}" if missing else "network or channels is of the wrong type"
        raise InputError(f"{path} is damaged ({fault}): copy the checkpoint again or train again")
    return metadata


def _read_weights(folder: Path, metadata: Mapping[str, Any]) -> dict[str, Tensor]:
    path = folder / WEIGHTS
    content = _read(path)
    if hashlib.sha256(content).hexdigest() != metadata["weights_sha256"]:
        raise InputError(f"{path} is damaged, or not the one that {RECORD} belongs to: copy both again or train again")
    try:
        return load_tensors(content)
    except SafetensorError as error:
        raise InputError(f"{path} is damaged ({error}): copy the checkpoint again or train again") from error


def _load_state(model: Model, state: Mapping[str, Tensor], folder: Path) -> None:
    model_state = model.state_dict()
    wrong = [k for k in sorted(model_state.keys() | state.keys()) if k not in model_state or k not in state]
    wrong += [k for k in model_state if k in state and model_state[k].shape != state[k].shape]
    if wrong:
        raise InputError(
            f"{folder / WEIGHTS}: {len(wrong)} tensors do not fit the network that {RECORD} describes "
            f"(first: {wrong[0]}); use the version of mvdecor that wrote it, or train again"
        )
    model.load_state_dict(dict(state))


def _differences(model: Model, metadata: Mapping[str, Any]) -> list[str]:
    current, stored = _flat(model.config, "network"), _flat(metadata["network"], "network")
    current["channels"], stored["channels"] = "+".join(model.channels), "+".join(map(str, metadata["channels"]))
    unset = "not set"
    return [
        f"{k}: {current.get(k, unset)} here, {stored.get(k, unset)} in the checkpoint"
        for k in sorted(current.keys() | stored.keys())
        if current.get(k, unset) != stored.get(k, unset) and k != "network.weights"  # only where training started from
    ]


def _flat(config: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        flat |= _flat(value, f"{prefix}.{key}") if isinstance(value, Mapping) else {f"{prefix}.{key}": value}
    return flat
