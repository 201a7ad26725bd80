"""The photographs of a configuration."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import numpy as np
from omegaconf import DictConfig

from mvdecor.captures.photographs import PhotographSet
from mvdecor.engine.content import Files
from mvdecor.engine.device import open_device
from mvdecor.engine.distributed import barrier, rank
from mvdecor.errors import InputError
from mvdecor.imports import make_object
from mvdecor.made_up.generate import write_birds


def photographs_of(cfg: DictConfig, split: str, limit: int | None) -> tuple[PhotographSet, list[str]]:
    """The reader of the group `photographs`, and the first `limit` ids of a split (all if None).

    Raises:
        InputError: no such data set, or an empty split.
    """
    node = {name: value for name, value in cfg.photographs.items() if name != "generate"}
    photographs: PhotographSet = make_object(DictConfig(node), "photographs")
    ids = photographs.ids(split)[:limit]
    if not ids:
        raise InputError(f"split {split!r} holds no photograph: choose another split, or check photographs.root")
    return photographs, ids


def photograph_files(cfg: DictConfig, split: str, limit: int | None) -> Files:
    """What the photographs of a split hold, each by its id; those that cannot be read, by why."""
    photographs, ids = photographs_of(cfg, split, limit)
    return Files(tuple((f"{id} {photograph_content(photographs, id)}", Path(os.devnull, "no file")) for id in ids))


def photograph_content(photographs: PhotographSet, id: str) -> str:
    """The hash of what a photograph holds; why it cannot be read, if it cannot."""
    try:
        photograph = photographs.load(id)
    except InputError as error:
        return str(error)
    digest = hashlib.sha256(str((photograph.image.shape, photograph.box)).encode())
    for values in (photograph.image, photograph.mask, photograph.keypoints):
        digest.update(b"none" if values is None else np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def write_made_up(cfg: DictConfig) -> None:
    """Write the birds of `photographs.generate` into `photographs.root` unless they are there; the first process does."""
    if not cfg.photographs.get("generate"):
        return
    open_device(cfg.device, cfg.precision)
    if rank() == 0:
        write_birds(cfg.photographs.root, **cfg.photographs.generate)
    barrier()
