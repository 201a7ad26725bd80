"""A coloured room whose field is fitted once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from mvdecor.systems.open_vocabulary.stages import run_finetune, run_pretrain
from tests.colour_room import write_colour_room

SMALL = (
    *(
        "system=open_vocabulary",
        "capture=llff",
        "text_image=colour",
        "dense_image=colour",
        "device=cpu",
        "progress=false",
        "cache=null",
        "crops.parts=[3,4,6]",
    ),
    *("radiance.field.resolution=24", "radiance.field.density_components=4", "radiance.field.appearance_components=6"),
    *("radiance.rays=256", "radiance.samples=32", "radiance.steps=250", "training.pretrain.points=100"),
    *("training.finetune.steps=40", "training.finetune.rays=128", "training.finetune.patches=2"),
    *("training.finetune.patch_points=6", "training.finetune.strongest=20", "evaluation.points=300"),
    *("training.finetune.least_psnr=10", "evaluation.tolerance=0.15"),
)


@pytest.fixture(scope="session")
def colour_room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the capture."""
    return write_colour_room(tmp_path_factory.mktemp("colour_room") / "balls")


@pytest.fixture(scope="session")
def scene_config(make_config, colour_room) -> Callable[..., DictConfig]:
    """Composes the system's configuration on the coloured room."""
    return lambda *overrides: make_config(*SMALL, f"capture.root={colour_room}", *overrides)


@pytest.fixture(scope="session")
def fitted_field(scene_config, tmp_path_factory) -> Path:
    """The folder of a fitted field."""
    out = tmp_path_factory.mktemp("fitted") / "out"
    run_pretrain(scene_config(f"out={out}"))
    return out / "model"


@pytest.fixture(scope="session")
def distilled(scene_config, fitted_field, tmp_path_factory) -> tuple[Path, dict]:
    """The folder of a distillation and what it found."""
    out = tmp_path_factory.mktemp("distilled") / "out"
    return out, run_finetune(scene_config(f"out={out}", f"checkpoint={fitted_field}"))
