"""What every script shares: one clear line and a non-zero exit for bad input."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from mvdecor.errors import InputError

CONFIGS = str(Path(__file__).resolve().parents[2] / "configs")


def main(stage: Callable[[DictConfig], object], config_name: str = "config") -> None:
    """Run a stage as a Hydra application on configs/config.yaml or another; an `InputError` ends it with its message alone."""

    def run(cfg: DictConfig) -> None:
        try:
            stage(cfg)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config_name)(run)()
