"""`Labelling`: the labels of a folder's shapes while they are edited: what may change, undo, and saving at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mvdecor.apps.viewer.edits import Edits
from mvdecor.apps.viewer.labels import LabelFolder
from mvdecor.apps.viewer.tools import Faces
from mvdecor.errors import InputError
from mvdecor.shapes import Shape
from mvdecor.shapes.shape import UNDETERMINED


@dataclass(frozen=True)
class _Selection:
    """What was labelled last, which may still grow and shrink.

    Attributes:
        faces: those that have its label through it.
        label: int.
        before: int64 [F], the labels without it.
    """

    faces: Faces
    label: int
    before: NDArray[np.int64]


class Labelling:
    """Edits of labels; each change is on disk before the next. Faces of a locked label keep it, whatever is done but undo.

    Args:
        folder: where labels are saved.
        shape: reads a shape.

    Attributes:
        locked: the locked labels.
    """

    def __init__(self, folder: LabelFolder, shape: Callable[[str], Shape]) -> None:
        self._folder, self._shape = folder, shape
        self.locked: set[int] = set()
        self._edits: dict[str, Edits] = {}
        self._selections: dict[str, _Selection] = {}

    def labels(self, id: str) -> NDArray[np.int64]:
        """int64 [F], as they are now, -1 = none; a copy."""
        return self._editing(id).labels

    def select(self, id: str, faces: Faces, label: int) -> bool:
        """Give some faces, bool [F], a label (-1: none), and save; they can be grown and shrunk. False if they had it.

        Raises:
            InputError: an unknown label, or labels that cannot be saved; then nothing has changed.
        """
        self._check(label)
        before = self.labels(id)
        changing = faces & self._free(before) & (before != label)
        if not self.put(id, changing, label):
            return False
        self._selections[id] = _Selection(changing, label, before)
        return True

    def put(self, id: str, faces: Faces, labels: NDArray[np.int64] | int) -> bool:
        """Give some faces labels, int64 [F] or one for all, and save; False if nothing changed.

        Raises:
            InputError: as `select`.
        """
        edits = self._editing(id)
        self._selections.pop(id, None)
        return self._save(id, lambda: edits.put(faces & self._free(edits.labels), labels), edits.undo)

    def resize(self, id: str, label: int, among: Faces, wider: Callable[[Faces], Faces]) -> bool:
        """Grow or shrink what was labelled last, or else all faces of a label, and save.

        Faces that are left by shrinking get the labels that they had before, or none.

        Args:
            id: the shape.
            label: to take where nothing was labelled since the last undo.
            among: bool [F], faces that may change.
            wider: gives the faces that some faces become: more of them, or fewer.

        Returns:
            whether anything changed.

        Raises:
            InputError: no face has the label, or as `select`.
        """
        self._check(label)
        labels = self.labels(id)
        last = self._selections.get(id)
        if last is None:
            last = _Selection(labels == label, label, np.where(labels == label, UNDETERMINED, labels))
        if not last.faces.any():
            raise InputError(
                f"shape {id}: nothing was labelled last, and no face has the label: choose one that is there"
            )
        target = wider(last.faces)
        added = target & ~last.faces & among & self._free(labels)
        dropped = last.faces & ~target & among & self._free(labels)
        changed = self.put(id, added | dropped, np.where(added, last.label, last.before))
        self._selections[id] = _Selection((last.faces | added) & ~dropped, last.label, last.before)
        return changed

    def undo(self, id: str) -> bool:
        """Take the last change of a shape's labels back, and save; False if there is none."""
        edits = self._editing(id)
        self._selections.pop(id, None)
        return self._save(id, edits.undo, edits.redo)

    def redo(self, id: str) -> bool:
        """Change again what was taken back last, and save; False if there is nothing."""
        edits = self._editing(id)
        self._selections.pop(id, None)
        return self._save(id, edits.redo, edits.undo)

    def _free(self, labels: NDArray[np.int64]) -> Faces:
        return ~np.isin(labels, list(self.locked))

    def _check(self, label: int) -> None:
        names = self._folder.label_names
        if not UNDETERMINED <= label < len(names):
            raise InputError(f"label {label} is unknown: there are {len(names)}: {', '.join(names)}")

    def _editing(self, id: str) -> Edits:
        if id not in self._edits:
            shape = self._shape(id)
            self._edits[id] = Edits(self._folder.read(id, shape.num_faces, shape.polygons))
        return self._edits[id]

    def _save(self, id: str, change: Callable[[], bool], back: Callable[[], bool]) -> bool:
        """Change labels and write them; if they cannot be written, they are as before."""
        folder, edits = self._folder, self._editing(id)
        shape = self._shape(id)
        if not np.array_equal(folder.read(id, shape.num_faces, shape.polygons), edits.labels):
            del self._edits[id]
            raise InputError(
                f"{folder.path(id)}: another program changed it; its labels are read anew, and nothing was done"
            )
        if not change():
            return False
        try:
            folder.write(id, edits.labels)
        except InputError:
            back()
            raise
        return True
