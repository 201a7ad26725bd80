"""Folders of meshes to label, with the labels that they should get."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from omegaconf import DictConfig

from mvdecor.apps.viewer.session import Session


@dataclass(frozen=True)
class Unlabelled:
    """A folder of meshes of which the labels are known, and left out."""

    root: Path
    names: list[str]
    truth: dict[str, np.ndarray]

    @property
    def overrides(self) -> list[str]:
        return ["data=folder", f"data.root={self.root}"]


@pytest.fixture
def unlabelled(tmp_path) -> Callable[..., Unlabelled]:
    """Copies some meshes of people's layout, with their textures, into one folder without labels."""

    def copied(people: Path, ids: list[str]) -> Unlabelled:
        root = tmp_path / "meshes"
        truth = {}
        for id in ids:
            shutil.copytree(people / id, root, dirs_exist_ok=True, ignore=shutil.ignore_patterns("*_labels.npy"))
            labels = np.load(people / id / f"{id}_labels.npy").astype(np.int64)
            truth[id] = np.where(labels == 255, -1, labels)
        return Unlabelled(root, json.loads((people / "split.json").read_text())["labels"], truth)

    return copied


@pytest.fixture
def make_view(make_config, tmp_path) -> Callable[..., DictConfig]:
    """Composes configs/view.yaml with overrides, for the CPU, a folder of the test's own, and no experiment's values."""
    own = ["~experiment", f"out={tmp_path / 'view'}", "device=cpu", "precision=32-true"]
    return lambda *overrides: make_config(*own, *overrides, name="view")


@pytest.fixture
def make_session(make_view) -> Callable[..., Session]:
    """Sessions of configs/view.yaml with overrides."""
    return lambda *overrides: Session(make_view(*overrides))
