"""Errors of Hydra about the command line, in one line with the nearest name that exists."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hydra.errors import MissingConfigException
from omegaconf import DictConfig

from mvdecor.settings import nearest, unknown_setting

UNKNOWN_KEY = re.compile(r"Could not override '([^'@]+)'|Could not delete from config. '([^']+)' does not exist")


def explain(error: Exception, words: Sequence[str], configs: Path, compose: Callable[[list[str]], DictConfig]) -> str:
    """What is wrong with an override, and what was probably meant.

    Args:
        error: what Hydra raised.
        words: the overrides.
        configs: the folder of the configuration, with a folder per group.
        compose: makes the configuration of some overrides, whose names are proposed.
    """
    if isinstance(error, MissingConfigException) and error.missing_cfg_file is not None:
        missing = str(error.missing_cfg_file)
        choice = "=".join(missing.rsplit("/", 1))
        for word in words:  # an option may be a path, where a group's setting was meant
            choice = word if word.replace("=", "/", 1) == missing else choice
        return unknown_option(choice, [str(name) for name in error.options or ()])
    choices = [word for word in words if (configs / word.partition("=")[0]).is_dir()]
    if match := UNKNOWN_KEY.search(str(error)):
        try:
            cfg = compose(choices)
        except Exception:  # a choice is wrong too
            cfg = compose([])
        return unknown_setting(match[1] or match[2], _names(cfg))
    if str(error).startswith(
        "Config group override must be"
    ):  # a number or null where a name is due; Hydra does not say where
        for word in choices:
            options = sorted(path.stem for path in (configs / word.partition("=")[0]).glob("*.yaml"))
            if word.partition("=")[2] not in options:
                return unknown_option(word, options)
    return f"{' '.join(words)}: {' '.join(str(error).partition('Config search path')[0].split())}"


def unknown_option(choice: str, options: Sequence[str]) -> str:
    """What to say of GROUP=OPTION if there is no such option."""
    group, _, option = choice.partition("=")
    suggestion = nearest(option, options)
    meant = "choose" if suggestion is None else f"did you mean {group}={suggestion}? Choose"
    return f"{choice} is unknown: {meant} one of {', '.join(options)}"


def _names(cfg: DictConfig, group: str = "") -> Iterator[str]:
    """Dotted names of all settings and groups."""
    for name in map(str, cfg):
        node = cfg._get_node(name)
        yield f"{group}{name}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_interpolation():
            yield from _names(node, f"{group}{name}.")
