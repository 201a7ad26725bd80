"""The lists of ids of a split and the label names of a data set (`.json`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mvdecor.errors import InputError
from mvdecor.files import read_json

SPLITS = ("train", "val", "test", "unlabelled", "all")
"""Names that `ids` of every reader understands."""


def check_split(split: str) -> None:
    """Raise InputError unless `split` is one of `SPLITS`."""
    if split not in SPLITS:
        raise InputError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")


def check_id(id: str, root: Path) -> None:
    """Raise InputError if an id would lead out of `root`."""
    if not id or id in (".", "..") or any(character in id for character in "/\\\0"):
        raise InputError(f"{root}: {id!r} is not a valid shape id (a plain name, no path)")


def id_list(value: Any, location: str) -> list[str]:
    """`value` as a list of distinct ids; InputError naming `location` if it is anything else."""
    if not isinstance(value, list) or not all(isinstance(id, str) for id in value):
        raise InputError(f"{location}: must be a list of shape ids (strings)")
    if len(set(value)) != len(value):
        twice = next(id for id in value if value.count(id) > 1)
        raise InputError(f"{location}: names {twice} twice; keep each id once")
    return list(value)


class SplitFile:
    """A `split.json`: {"labels": [names], "train": [ids], "test": [ids]}, every key optional, "val" allowed.

    Args:
        path: the file. If it is missing and `required` is False, there are no labels and no lists.

    Raises:
        InputError: malformed file, a list with an id twice, or an id in two of train, val and test.
    """

    def __init__(self, path: Path, required: bool = False) -> None:
        self.path = path
        content: Any = {}
        if required or path.exists():
            content = read_json(path, 'it should be {"labels": [...], "train": [...], "test": [...]}')
        if not isinstance(content, dict):
            raise InputError(f'{path}: should be an object {{"labels": [...], "train": [...], "test": [...]}}')
        self.label_names = tuple(id_list(content.get("labels", []), f"{path}, labels"))
        self.lists = {
            key: id_list(content[key], f"{path}, {key}") for key in ("train", "val", "test") if key in content
        }
        check_disjoint(self.lists, str(path))

    @property
    def held_out(self) -> set[str]:
        """Ids that nothing may be trained on, with or without labels."""
        return {*self.lists.get("val", []), *self.lists.get("test", [])}

    def ids(self, split: str) -> list[str]:
        """The list `split`; InputError with the remedy if the file or the list is not there."""
        if split not in self.lists:
            fault = f"has no list {split!r}" if self.path.exists() else f"no such file, so there is no list {split!r}"
            raise InputError(
                f"{self.path}: {fault}; write this file with "
                f'{{"labels": [part names], "train": [ids], "test": [ids]}} and {split!r} among its lists'
            )
        return list(self.lists[split])


def check_disjoint(lists: dict[str, list[str]], location: str) -> None:
    """Raise InputError if an id is in two of the lists: testing on trained shapes makes every figure worthless."""
    owner: dict[str, str] = {}
    for name, ids in lists.items():
        for id in ids:
            if id in owner:
                raise InputError(f"{location}: {id} is both in {owner[id]} and in {name}; keep it in one")
            owner[id] = name
