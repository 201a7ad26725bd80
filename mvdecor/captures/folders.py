"""What the readers of all formats share: which captures a folder holds, their splits, and the settings of reading."""

from __future__ import annotations

import os
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from mvdecor.captures.capture import Capture, PixelMemory
from mvdecor.captures.frames import Reading
from mvdecor.errors import InputError
from mvdecor.shapes.annotations import SplitFile, check_split

DEPTH = 3  # folders between the root and a capture: chairs_train/chairs_2.0_train/ID


class CaptureFolders(ABC):
    """Captures of one format below a folder, or in the folder itself; the id of a capture is its folder's name.

    Splits are the lists of `split.json` in the root, as for meshes; without that file, those of the folders that the captures
    lie in, by how their names end (`Chair.train`, `chairs_test`, `val`).

    Args:
        root: the folder.
        splits: JSON file {"train": [ids], "test": [ids]}, "val" allowed, relative to `root` or absolute; None: `split.json`
            if it is there.
        reduce: average blocks of `reduce` x `reduce` pixels into one; label maps take the most frequent label of a block.
        bounds: (near, far), camera z between which all content lies, where the files do not say.
        memory: pixels that are remembered after reading, in 10^6 bytes, of all captures together.

    Attributes:
        label_names: see `CaptureSet`.

    Raises:
        InputError: a missing folder, no capture in it, two of one name, or a setting out of its range.
    """

    marker: str
    """How the format is recognised, in words."""
    axes: str
    """The camera's axes, a name of `CAMERA_AXES`."""

    def __init__(
        self,
        root: str | Path,
        splits: str | Path | None = None,
        reduce: int = 1,
        bounds: Sequence[float] | None = None,
        memory: float = 1000.0,
    ) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: no such folder; set capture.root to the folder that holds the captures")
        self.label_names: tuple[str, ...] = ()
        self.reading = Reading(PixelMemory(memory), reduce, _pair(bounds))
        self.folders = self._find()
        self._splits = SplitFile(self.root / (splits or "split.json"), required=splits is not None)

    @abstractmethod
    def is_capture(self, folder: Path) -> bool:
        """Whether a folder holds a capture of this format."""

    @abstractmethod
    def read(self, id: str, folder: Path) -> Capture:
        """The capture in a folder."""

    def ids(self, split: str) -> list[str]:
        """Ids of a split; "unlabelled": all that are in neither val nor test, "all": those too, by name."""
        check_split(split)
        if self._splits.path.exists():
            if split not in ("unlabelled", "all"):
                return self._splits.ids(split)
            return [id for id in self.folders if split == "all" or id not in self._splits.held_out]
        split_of = {id: self._split_of(folder) for id, folder in self.folders.items()}
        if split == "unlabelled":
            return [id for id in self.folders if split_of[id] not in ("val", "test")]
        ids = [id for id in self.folders if split in ("all", split_of[id])]
        if not ids:
            raise InputError(
                f'{self.root}: has no split {split!r}: write {self._splits.path} with {{"{split}": [ids]}}, or put the '
                f"captures into a folder whose name ends in {split}"
            )
        return ids

    def load(self, id: str) -> Capture:
        """The capture `id`. Raises InputError if there is none or it is bad."""
        if id not in self.folders:
            raise InputError(f"{self.root}: holds no capture {id!r}; correct the id in the split file")
        return self.read(id, self.folders[id])

    def files(self, id: str) -> list[Path]:
        """All files of a capture's folder, by name: what its content depends on."""
        folder = self.folders.get(id)
        return [] if folder is None else sorted(path for path in folder.rglob("*") if path.is_file())

    def _find(self) -> dict[str, Path]:
        """Folders of captures by id, sorted by id."""
        folders: dict[str, Path] = {}
        for at, below, _ in os.walk(self.root, followlinks=True):
            folder = Path(at)
            below.sort()
            if self.is_capture(folder):
                below.clear()  # a capture holds no captures
                id = folder.resolve().name
                if id in folders:
                    raise InputError(
                        f"{self.root}: both {folders[id]} and {folder} hold a capture {id}: set capture.root to one of the "
                        "folders above them, or rename one"
                    )
                folders[id] = folder
            elif len(folder.relative_to(self.root).parts) >= DEPTH:
                below.clear()
        if not folders:
            raise InputError(
                f"{self.root}: holds no {self.marker}, nor does a folder in it: set capture.root to the folder of a capture, "
                "or to that above several"
            )
        return dict(sorted(folders.items()))

    def _split_of(self, folder: Path) -> str | None:
        """The split that the outermost folder of such a name says; the root's own name counts last."""
        if folder == self.root:
            return None
        for part in (*folder.relative_to(self.root).parts[:-1], self.root.resolve().name):
            if match := re.search(r"(?:^|[._-])(train|val|test)$", part):
                return match[1]
        return None


def _pair(bounds: Sequence[float] | None) -> tuple[float, float] | None:
    if bounds is None:
        return None
    if len(bounds) != 2 or not 0 < bounds[0] < bounds[1]:
        raise InputError(f"capture.bounds={list(bounds)}: give [near, far] with 0 < near < far")
    return float(bounds[0]), float(bounds[1])
