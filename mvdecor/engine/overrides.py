"""Words of the command line for Hydra: file names may hold any character, everything else keeps Hydra's meaning.

Hydra reads the value of KEY=VALUE by a grammar in which (), comma, =, quotes, [], {} and every letter outside ASCII either
mean something or are an error. Here a value that this grammar cannot read, or that names an existing file, is quoted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from glob import iglob

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from mvdecor.errors import InputError

PATHS = (
    "out",
    "checkpoint",
    "data.root",
    "data.test_root",
    "data.splits",
    "data.labels",
    "data.meshes",
    "capture.root",
    "capture.splits",
    "views.cache",
    "training.finetune.split",
)
"""Settings of all scripts that name a file or folder, or a list of them."""

PATHS_OF = {
    "segment": ("mesh",),
    "segment_image": ("image", "mask", "pose", "mesh"),
    "interpolate": ("codes",),
    "report": ("run", "data_root"),
    "view": ("run", "data_root"),
    "table": ("gather",),
    "benchmark": ("json", "plot", "shapes"),
}
"""Further ones, by configuration."""

POSITIONAL = {"segment": "mesh"}
"""The setting that words without a key are for, by configuration."""

VALUE_OPTIONS = (
    *("--package", "-p", "--config-path", "-cp", "--config-name", "-cn", "--config-dir", "-cd"),
    *("--cfg", "-c", "--info", "-i", "--experimental-rerun"),
)
"""Hydra's options that take the next word."""

SWEEP_OPTIONS = ("-m", "--multirun", "hydra.mode=MULTIRUN")

KEY = re.compile(r"[+~]{0,2}[\w.@/:$-]+=", re.ASCII)


def command_line(words: Sequence[str], config: str) -> list[str]:
    """The words after the script's name, as Hydra takes them.

    Words without a key become the setting `POSITIONAL`, where the configuration has one.

    Args:
        words: of the command line, after the shell's own quoting.
        config: name of the configuration.

    Raises:
        InputError: a word that is no KEY=VALUE, or a comma that may belong to a name as well as to a sweep.
    """
    sweep = any(word in SWEEP_OPTIONS for word in words)
    ready, names = [], []
    previous = ""
    for word in words:
        takes_paths = config in POSITIONAL and previous not in VALUE_OPTIONS
        if takes_paths and word.startswith("-") and os.path.isfile(word) and word not in SWEEP_OPTIONS + VALUE_OPTIONS:
            names.append(word)
        elif word.startswith("-") or previous in VALUE_OPTIONS:
            ready.append(word)
        elif takes_paths and _is_name(word):
            names.append(word)
        else:
            ready.append(override(word, config, sweep))
        previous = word
    if names:
        key = f"{POSITIONAL[config]}="
        if any(word.startswith(key) for word in ready):
            raise InputError(f"{names[0]}: is given beside {key}: give all names in one of the two ways")
        ready.append(f"{key}[{','.join(map(quoted, names))}]")
    return ready


def override(word: str, config: str = "config", sweep: bool = False) -> str:
    """KEY=VALUE with a value that Hydra reads as it is meant; an override that is quoted already stays as it is.

    The rules, in this order: a setting that names files (`PATHS`) takes the value literally if such a file or folder is
    there, and takes numbers and words as names; `~/` is the home folder; what Hydra's grammar reads keeps its meaning; of
    a list, and of a sweep, each element is treated so by itself; whatever is left is taken literally.

    Args:
        word: the override.
        config: name of the configuration, which says which settings are files.
        sweep: whether values separated by commas are run one after the other.

    Raises:
        InputError: no KEY=VALUE, or a comma in the value without `sweep`.
    """
    start = KEY.match(word)
    if start is None:
        return _as_it_is(word)
    key, text = start.group(), word[start.end() :]
    if key.strip("+~=") in (*PATHS, *PATHS_OF.get(config, ())):
        text = _path_value(key, text, sweep)
    elif _parse(key + text) is None:
        text = _elements(text, sweep, _element)
    parsed = _parse(key + text)
    if parsed is None:
        return _as_it_is(key + text)
    if parsed.is_sweep_override() and not sweep:
        raise InputError(
            f"{word}: a comma separates the values of a sweep, which takes -m; quote one name, "
            f"'{key}{quoted(text)}', or give a list, '{key}[{text}]'"
        )
    return key + text


def quoted(text: str) -> str:
    """Text as Hydra's quoted string, which stands for this text and nothing else; but ${...} is another setting's value.

    Raises:
        InputError: it holds "${" and is the name of an existing file.
    """
    if "${" in text and _exists(text):
        raise InputError(f"{text}: a name that holds ${{ cannot be given (it stands for another setting): rename it")
    # backslashes are halved before a quote and at the end, and nowhere else
    return "'" + re.sub(r"(\\*)'", r"\1\1\'", re.sub(r"(\\+)\Z", r"\1\1", text)) + "'"


def _path_value(key: str, text: str, sweep: bool) -> str:
    """The value of a setting that names files."""
    if text.startswith("~/") and not os.path.exists(text):
        text = os.path.expanduser(text)
    parsed = _parse(key + text)
    if _exists(text):
        return text if parsed is not None and _means(parsed, text) else quoted(text)
    if parsed is None or any(_exists(piece) for piece in _pieces(text.strip("[]")) if "," in piece):
        return _elements(text, sweep, _path_element)
    if not parsed.is_sweep_override() and isinstance(parsed.value(), int | float):
        return quoted(text)
    return text


def _elements(text: str, sweep: bool, element: Callable[[str], str]) -> str:
    """A list in brackets, or the values of a sweep, with each element ready for Hydra; any other text quoted whole."""
    if text.startswith("[") and text.endswith("]"):
        return f"[{','.join(map(element, _pieces(text[1:-1])))}]"
    if sweep:
        return ",".join(map(element, _pieces(text)))
    return quoted(text)


def _element(text: str) -> str:
    return text if _parse(f"x={text}") is not None else quoted(text)


def _path_element(text: str) -> str:
    parsed = _parse(f"x={text}")
    literal = parsed is None or (_exists(text) and not _means(parsed, text))
    return quoted(text) if literal else text


def _pieces(text: str) -> Iterator[str]:
    """Text divided at its commas, but for those in quotes and those in the name of an existing file."""
    parts = re.findall(r"""\s*(?:'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*")\s*(?=,|$)|[^,]+|(?<=,)(?=,)""", text)
    while parts:
        joined = (count for count in range(len(parts), 1, -1) if _exists(",".join(parts[:count])))
        count = next(joined, 1)
        yield ",".join(parts[:count]).strip() if count == 1 else ",".join(parts[:count])
        parts = parts[count:]


def _parse(word: str) -> Override | None:
    """The override by Hydra's grammar; None if it cannot be read."""
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _means(parsed: Override, text: str) -> bool:
    """Whether the value is this text and nothing else."""
    return not parsed.is_sweep_override() and parsed.value() == text and "${" not in text


def _exists(text: str) -> bool:
    """Whether text is the name of a file or folder, or a pattern that fits one."""
    if "\0" in text or not text:
        return False
    return os.path.exists(text) or (any(mark in text for mark in "*?[") and next(iglob(text, recursive=True), "") != "")


def _is_name(word: str) -> bool:
    """Whether a word names files and is no override: it has no key, or only as a whole it is a name or a pattern."""
    start = KEY.match(word)
    if start is None:
        return _exists(word) or ("=" not in word and not word.startswith(("~", "+")))
    return _exists(word) and not _exists(word[start.end() :])


def _as_it_is(word: str) -> str:
    """A word that is not quoted here; InputError if it is no override."""
    if _parse(word) is None or word.startswith("="):
        raise InputError(
            f"{word}: cannot be read as KEY=VALUE: give the name of a setting and its value, as in out=DIR, and put "
            "quotes around the whole if the value holds spaces or signs of the shell: 'out=my results'"
        )
    return word
