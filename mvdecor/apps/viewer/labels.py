"""Labels of a folder of meshes on disk, in the format that `MeshFolder` reads (data/README.md). Meshes are only read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from mvdecor.errors import InputError
from mvdecor.files import read_json, write_json
from mvdecor.shapes.annotations import SplitFile, check_id, id_list
from mvdecor.shapes.label_files import ENDINGS, find_labels, read_face_labels, read_labels, write_labels
from mvdecor.shapes.shape import UNDETERMINED

NAMES_FILE, SPLIT_FILE = "labels.json", "split.json"
MAX_LABELS = 255
"""Label names; one more, and 255 would no longer mean undetermined."""
ERASE, UNLABELLED = "(erase)", "(no label)"
"""What the page calls no label, where one is chosen and where they are listed: no label may be called so."""


class LabelFolder:
    """Reads and writes the labels beside the meshes of a folder: `NAME_labels.npy`, `labels.json`, `split.json`.

    Labels that lie there in another format (`label_files.ENDINGS`) stay in that one; all are written per triangle.

    A shape with a label on any face belongs to the training list, unless a list of `split.json` already names it; one
    whose last label was erased leaves that list. Everything else in `split.json` stays as it is.

    Args:
        root: the folder.
        names: the palette; None takes the folder's own. A palette that begins with the folder's own names extends them.

    Attributes:
        label_names: the palette.

    Raises:
        InputError: no names at all, bad ones, or others than those that labels in the folder already have.
    """

    def __init__(self, root: Path | str, names: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        split = SplitFile(self.root / SPLIT_FILE)
        saved_names = SplitFile(self.root / NAMES_FILE).label_names or split.label_names
        self._saved = saved_names
        self.label_names = saved_names if names is None else _checked(names)
        if not self.label_names:
            raise InputError(
                f"{self.root}: there are no label names yet: give them, for example labels=[foot,pole,shade]; they are "
                f"saved in {NAMES_FILE}"
            )
        if self.label_names[: len(saved_names)] != saved_names:
            raise InputError(
                f"labels=[{','.join(self.label_names)}]: the labels in {self.root} are {', '.join(saved_names)}: begin with "
                "these in this order and add others at the end, or leave labels out"
            )

    def path(self, id: str) -> Path:
        """The labels of a shape, there or not; InputError if several files hold some."""
        check_id(id, self.root)
        return find_labels(self.root, id) or self.root / f"{id}{ENDINGS[0]}"

    def read(self, id: str, num_faces: int, polygons: Tensor | None = None) -> NDArray[np.int64]:
        """int64 [F], -1 = no label; all of them if there is no file. `polygons` as in `read_face_labels`.

        Raises:
            InputError: a file of another face count, or a damaged one.
        """
        file = self.path(id)
        if not file.exists():
            return np.full(num_faces, UNDETERMINED)
        return read_face_labels(file, num_faces, self.label_names, polygons).numpy()

    def write(self, id: str, labels: NDArray[np.int64]) -> None:
        """Save the labels of a shape, int64 [F], and what else a training needs; each file whole or not at all.

        Raises:
            InputError: a label without a name, or a folder or file that cannot be written.
        """
        if len(labels) and not (labels.min() >= UNDETERMINED and labels.max() < len(self.label_names)):
            raise InputError(f"{self.path(id)}: labels {labels.min()} to {labels.max()}, {len(self.label_names)} names")
        if not self.writable:
            raise InputError(f"{self.root}: cannot be written to, so labels cannot be saved: copy the meshes elsewhere")
        if self._saved != self.label_names:  # first: labels without names cannot be read
            self._write_names(self.label_names)
        write_labels(self.path(id), labels, self.label_names)
        self._list(id, bool((labels >= 0).any()))

    def rename(self, label: int, name: str) -> None:
        """Give a label another name; label files of integers mean it from then on, those that hold names are written anew.

        Raises:
            InputError: an unknown label, no name, one that another label has, or a file that cannot be written; then all is as
                before.
        """
        if not 0 <= label < len(self.label_names):
            raise InputError(f"label {label} is unknown: there are {len(self.label_names)}")
        before, names = self.label_names, list(self.label_names)
        names[label] = name.strip()
        if not names[label] or names[label] in (ERASE, UNLABELLED) or names.count(names[label]) > 1:
            raise InputError(f"new name {name!r}: give one that no other label has")
        after = tuple(names)
        if not self.writable:
            raise InputError(
                f"{self.root}: cannot be written to, so labels cannot be renamed: copy the meshes elsewhere"
            )
        named_files = {file: read_labels(file, before) for file in sorted(self.root.glob("*_labels.json"))}
        try:
            self._write_names(after)
            for file, labels in named_files.items():
                write_labels(file, labels, after)
        except InputError:
            self._write_names(before)
            for file, labels in named_files.items():
                write_labels(file, labels, before)
            raise
        self.label_names = after

    def _write_names(self, names: tuple[str, ...]) -> None:
        write_json(self.root / NAMES_FILE, {"labels": list(names)})
        self._saved = names

    @property
    def writable(self) -> bool:
        """Whether files can be made in the folder."""
        return os.access(self.root, os.W_OK | os.X_OK)

    def labelled(self, ids: Sequence[str]) -> list[str]:
        """Those of some shapes of which at least one face has a label, in their order; the meshes are not read."""
        return [id for id in ids if self.path(id).exists() and self._any(id)]

    def held_out(self) -> set[str]:
        """Ids of the validation and test lists: labelled or not, nothing is trained on them."""
        return SplitFile(self.root / SPLIT_FILE).held_out

    def _any(self, id: str) -> bool:
        return bool((read_labels(self.path(id), self.label_names) >= 0).any())

    def _list(self, id: str, has_labels: bool) -> None:
        """Bring the training list up to date."""
        file = self.root / SPLIT_FILE
        content: dict[str, Any] = read_json(file, "correct it") if file.exists() else {}
        lists = SplitFile(file).lists
        train = id_list(content.get("train", []), str(file))
        if has_labels and not any(id in listed_ids for listed_ids in lists.values()):
            train.append(id)
        elif not has_labels and id in train:
            train.remove(id)
        else:
            return
        write_json(file, {**content, "train": train})


def _checked(names: Sequence[str]) -> tuple[str, ...]:
    stripped = tuple(str(name).strip() for name in names)
    if not stripped or not all(stripped) or len(set(stripped)) < len(stripped) or len(stripped) > MAX_LABELS:
        raise InputError(f"labels=[{','.join(stripped)}]: give between 1 and {MAX_LABELS} different names")
    if taken := {ERASE, UNLABELLED}.intersection(stripped):
        raise InputError(f"labels=[{','.join(stripped)}]: {taken.pop()} means no label: choose another name")
    return stripped
