"""Results made up for the tests of tables."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

CONFIG = {
    "seed": 0,
    "run": 0,
    "data": {"level": 3, "category": "Bottle"},
    "views": {"channels": ["rgb"], "count": 4, "size": 32},
    "loss": {"_target_": "InfoNCE"},
    "training": {"pretrain": {"steps": 10}, "finetune": {"k": 3, "v": None, "steps": 5}},
    "evaluation": {"protocol": "mvdecor", "points": 100},
}


@pytest.fixture
def write_run(tmp_path) -> Callable[..., Path]:
    """Writes metrics.json of a run below tmp_path/results, as scripts/evaluate.py does, and returns its path."""

    def write(method: str, run: int, part_miou: float, column: str = "Bottle", where: str = "a", **settings) -> Path:
        test_ids = settings.pop("test_ids", ["1", "2"])
        config = OmegaConf.create(copy.deepcopy(CONFIG))
        config.run = run
        config.method = {"name": method, "title": f"2D {method}", "pretrain": method != "scratch"}
        config.cell = {"table": "any", "column": column}
        for key, value in settings.items():
            OmegaConf.update(config, key.replace("__", "."), value)
        content = {
            "config": OmegaConf.to_container(config),
            "category": "Bottle",
            "part_miou": part_miou,
            "shape_miou": part_miou / 2,
            "split": {"name": "test", "ids": test_ids},
            "seed": config.seed,
            "revision": "abc",
        }
        file = tmp_path / "results" / where / column / method / f"run_{run}" / "metrics.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
        return file

    return write
