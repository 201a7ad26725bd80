"""What every script shares: one clear line and a non-zero exit for bad input."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import InterpolationResolutionError

from mvdecor.engine.misspelt import explain
from mvdecor.engine.overrides import command_line, override
from mvdecor.errors import InputError

_INSTALLED, _CHECKOUT = (Path(__file__).resolve().parents[n] / "configs" for n in (1, 2))
CONFIGS = str(_INSTALLED if _INSTALLED.is_dir() else _CHECKOUT)
"""The folder configs/ of the repository; a wheel has it within the package."""
SAID = (InputError, InterpolationResolutionError)
"""Errors of which the message says all."""
FULL_ERROR = "HYDRA_FULL_ERROR"
"""Variable of the environment by which Hydra raises its errors."""


def main(stage: Callable[[DictConfig], object], config: str = "config") -> None:
    """Run a stage as a Hydra application on configs/<config>.yaml; an `InputError` ends it with its message alone, and so does
    an error in the overrides.

    File names on the command line may hold any character (mvdecor.engine.overrides.py). A terminal that cannot show one
    shows its number.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")

    stage_errors: list[Exception] = []

    def run(cfg: DictConfig) -> None:
        """The stage; its error is kept, since Hydra would print a traceback."""
        try:
            stage(cfg)
        except Exception as error:
            stage_errors.append(error)
            if HydraConfig.get().mode is RunMode.MULTIRUN:  # Hydra goes on, and raises the first error at the end
                print(f"error: {_said(error)}", file=sys.stderr, flush=True)
            elif isinstance(error, SAID):
                _end(error)
            raise

    with one_line():
        sys.argv[1:] = command_line(sys.argv[1:], config)
        try:
            with _errors_of_hydra():
                hydra.main(version_base="1.3", config_path=CONFIGS, config_name=config)(run)()
        except Exception as error:
            if isinstance(error, SAID) and error in stage_errors:
                raise InputError(
                    f"{len(stage_errors)} jobs of the sweep failed, see above; the others are finished"
                ) from error
            if error in stage_errors or isinstance(error, SAID) or os.environ.get(FULL_ERROR) == "1":
                raise  # no fault of the command line; or it says all; or Hydra's own error is asked for
            GlobalHydra.instance().clear()
            words = [word for word in sys.argv[1:] if not word.startswith("-")]
            raise InputError(_explain(error, words, config)) from error


@contextlib.contextmanager
def _errors_of_hydra() -> Iterator[None]:
    """Let Hydra raise its errors instead of printing them."""
    before = os.environ.get(FULL_ERROR)
    os.environ[FULL_ERROR] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[FULL_ERROR]
        else:
            os.environ[FULL_ERROR] = before


def _explain(error: Exception, words: Sequence[str], config: str) -> str:
    return explain(error, words, Path(CONFIGS), lambda choices: compose_config(choices, config))


@contextlib.contextmanager
def one_line() -> Iterator[None]:
    """End the program with one line for bad input."""
    try:
        yield
    except SAID as error:
        _end(error)


def _end(error: Exception) -> NoReturn:
    print(f"error: {_said(error)}", file=sys.stderr)
    sys.exit(2)


def _said(error: Exception) -> str:
    """An error in one line."""
    if isinstance(error, InterpolationResolutionError):
        return f"{error.full_key}: {str(error).splitlines()[0]} (${{...}} stands for another setting)"
    return str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"


def compose_config(overrides: Sequence[str], name: str = "config") -> DictConfig:
    """configs/<name>.yaml with overrides, as a script's command line would give it; also within a script.

    Raises:
        InputError: an override of a setting or option that does not exist, or that cannot be read.
    """
    inside = GlobalHydra.instance().is_initialized()
    with contextlib.nullcontext() if inside else hydra.initialize_config_dir(CONFIGS, version_base="1.3"):
        words = [override(word, name) for word in overrides]
        try:
            return hydra.compose(name, overrides=words)
        except (HydraException, ValueError) as error:
            if not words:
                raise
            raise InputError(_explain(error, words, name)) from error
