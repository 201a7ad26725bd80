"""Tiny runs of To The Point on made-up birds."""

from pathlib import Path

import pytest

from mvdecor.made_up.generate import write_birds
from mvdecor.systems.to_the_point.stages import run_evaluate, run_finetune, run_pretrain

TINY = (
    *("photographs.generate=null", "reconstructor.encoder=test_resnet", "reconstructor.weights=null"),
    *("reconstructor.size=32", "reconstructor.stage=-1", "reconstructor.width=8", "reconstructor.grid=4"),
    "reconstructor.hidden=16",
    *("reconstructor.basis=3", "training.pretrain.steps=4", "training.pretrain.batch_size=3"),
    *("training.finetune.steps=4", "training.finetune.batch_size=3", "training.finetune.renders=2"),
    *("training.finetune.points=20", "evaluation.limit=3", "evaluation.batch_size=2", "evaluation.figures=2"),
    *("evaluation.points=200", "save_every=2", "device=cpu", "progress=false"),
)
"""Overrides that make any experiment take seconds."""


@pytest.fixture(scope="session")
def birds(tmp_path_factory) -> Path:
    """Eight pictures of made-up birds."""
    return write_birds(tmp_path_factory.mktemp("birds") / "birds", count=8, seed=3, test_fraction=0.4, size=32)


@pytest.fixture(scope="session")
def config(make_config, birds):
    """Composes a tiny configuration: called with `out` and overrides."""
    words = ("experiment=ttp_birds_cpu", *TINY, f"photographs.root={birds}")
    return lambda out, *more: make_config(*words, f"out={out}", *more)


@pytest.fixture(scope="session")
def stages(config, tmp_path_factory) -> Path:
    """A folder with the results of the three stages in `pretrain`, `tuned` and `measured`."""
    out = tmp_path_factory.mktemp("stages")
    run_pretrain(config(out / "pretrain"))
    run_finetune(config(out / "tuned", f"checkpoint={out / 'pretrain' / 'model'}"))
    run_evaluate(config(out / "measured", f"checkpoint={out / 'tuned' / 'model'}"))
    return out
