"""Fixtures shared by all tests."""

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

if "MVDECOR_CACHE" not in os.environ:  # nor in those of a process that started this one
    os.environ["MVDECOR_CACHE"] = tempfile.mkdtemp(prefix="mvdecor-tests-")
    atexit.register(shutil.rmtree, os.environ["MVDECOR_CACHE"], ignore_errors=True)
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: results to the last bit depend on the number of threads

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hypothesis import HealthCheck, settings
from omegaconf import DictConfig

from mvdecor.engine.cli import CONFIGS
from mvdecor.made_up.generate import write_partnet, write_people_like

# the same examples in every run, however slow the machine is
slow = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("tests", derandomize=True, deadline=None, suppress_health_check=slow)
settings.load_profile("tests")

DATA = Path(os.environ.get("MVDECOR_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


@pytest.fixture(autouse=True)
def _no_test_depends_on_another() -> Iterator[None]:
    """Each test begins with the same random state, and leaves the environment as it was."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def _real_data(name: str) -> Path:
    root = DATA / name
    if not root.is_dir():
        pytest.skip(f"real data not found: {root} (set MVDECOR_DATA to the folder that holds it)")
    return root


@pytest.fixture(scope="session")
def partnet_root() -> Path:
    """Root of real PartNet shapes (`data_v0/`, `stats/`, `splits_local.json`)."""
    return _real_data("partnet")


@pytest.fixture(scope="session")
def people_root() -> Path:
    """Root of real textured people with face labels (`person_NNN/`, `split.json`)."""
    return _real_data("people")


@pytest.fixture(scope="session")
def captures_root() -> Path:
    """Real posed images: `ethiopian_head/` (LLFF), `fox/` (transforms.json), `lego_nsvf/`."""
    return _real_data("captures")


# Overrides that make any experiment on the U-Net take seconds.
TINY = (
    *("views.count=4", "views.size=32", "network=unet_small", "network.decoder_channels=[16,16,16]"),
    *("training.pretrain.steps=1", "training.pretrain.pairs=1", "training.pretrain.points=16"),
    *("training.pretrain.validation_batches=1", "training.finetune.steps=1", "training.finetune.batch_size=2"),
    *(
        "training.matching.min_overlap=0.02",
        "training.finetune.pairs=1",
        "training.finetune.runs=1",
        "training.finetune.k=1",
    ),
    *(
        "data.pretrain_limit=4",
        "evaluation.limit=1",
        "evaluation.points=500",
        "precision=32-true",
        "device=cpu",
        "progress=false",
    ),
)


@pytest.fixture(scope="session")
def tiny() -> tuple[str, ...]:
    """Command-line overrides that make any experiment take seconds."""
    return TINY


@pytest.fixture(scope="session")
def make_config() -> Callable[..., DictConfig]:
    """Composes configs/config.yaml, or another one, with command-line overrides."""

    def make(*overrides: str, name: str = "config") -> DictConfig:
        with initialize_config_dir(CONFIGS, version_base="1.3"):
            return compose(name, overrides=list(overrides))

    return make


@pytest.fixture(scope="session")
def made_up_partnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 made-up chairs in PartNet's format."""
    return write_partnet(tmp_path_factory.mktemp("made_up") / "partnet", 12, categories=("Chair",))


@pytest.fixture(scope="session")
def made_up_people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """8 made-up textured chairs in the layout of a RenderPeople delivery."""
    return write_people_like(tmp_path_factory.mktemp("made_up") / "people", 8)
