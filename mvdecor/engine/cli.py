"""What every script shares: one clear line and a non-zero exit for bad input."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import hydra
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError

from mvdecor.engine.overrides import command_line, override
from mvdecor.errors import InputError

CONFIGS = str(Path(__file__).resolve().parents[2] / "configs")


def main(stage: Callable[[DictConfig], object], config: str = "config") -> None:
    """Run a stage as a Hydra application on configs/<config>.yaml; an `InputError` ends it with its message alone.

    File names on the command line may hold any character (mvdecor.engine.overrides.py). A terminal that cannot show one
    shows its number.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    def run(cfg: DictConfig) -> None:
        with one_line():
            stage(cfg)

    with one_line():
        sys.argv[1:] = command_line(sys.argv[1:], config)
    hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config)(run)()


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """End the program with one line for bad input."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except InterpolationResolutionError as error:
        reason = str(error).splitlines()[0]
        print(f"error: {error.full_key}: {reason} (${{...}} stands for another setting)", file=sys.stderr)
        sys.exit(2)


def compose_config(overrides: Sequence[str], name: str = "config") -> DictConfig:
    """configs/<name>.yaml with overrides, as a script's command line would give it; also within a script."""
    inside = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if inside else hydra.initialize_config_dir(CONFIGS, version_base="1.3"):
        return hydra.compose(name, overrides=[override(word, name) for word in overrides])
