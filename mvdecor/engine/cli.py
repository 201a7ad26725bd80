"""What every script shares: one clear line and a non-zero exit for bad input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from mvdecor.errors import InputError

CONFIGS = str(Path(__file__).resolve().parents[2] / "configs")


def main(stage: Callable[[DictConfig], object], config: str = "config") -> None:
    """Run a stage as a Hydra application on configs/<config>.yaml; an `InputError` ends it with its message alone."""

    def run(cfg: DictConfig) -> None:
        try:
            stage(cfg)
        except InputError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(2)

    hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config)(run)()


def compose_config(overrides: Sequence[str], name: str = "config") -> DictConfig:
    """configs/<name>.yaml with overrides, as a script's command line would give it; also within a script."""
    inside = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if inside else hydra.initialize_config_dir(CONFIGS, version_base="1.3"):
        return hydra.compose(name, overrides=list(overrides))
