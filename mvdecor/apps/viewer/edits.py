"""The labels of one shape while they are edited, with undo and redo."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class _Change:
    faces: NDArray[np.int64]
    before: NDArray[np.int64]
    after: NDArray[np.int64]


class Edits:
    """Labels that can be changed, and changed back.

    Args:
        labels: int64 [F], -1 = no label; copied.
    """

    def __init__(self, labels: NDArray[np.int64]) -> None:
        self._labels = labels.copy()
        self._done: list[_Change] = []
        self._undone: list[_Change] = []

    @property
    def labels(self) -> NDArray[np.int64]:
        """int64 [F], as they are now; a copy."""
        return self._labels.copy()

    def put(self, faces: NDArray[np.bool_], labels: NDArray[np.int64] | int) -> bool:
        """Give some faces other labels, as one step to undo; forgets what was undone.

        Args:
            faces: bool [F].
            labels: one label for them all, or int64 [F].

        Returns:
            whether any label changed; if not, there is nothing new to undo.
        """
        target = np.broadcast_to(np.asarray(labels, dtype=np.int64), self._labels.shape)
        changed = np.flatnonzero(faces & (target != self._labels))
        if len(changed) == 0:
            return False
        self._done.append(_Change(changed, self._labels[changed], target[changed]))
        self._undone.clear()
        self._labels[changed] = target[changed]
        return True

    def undo(self) -> bool:
        """Take the last step back; False if there is none."""
        if not self._done:
            return False
        change = self._done.pop()
        self._undone.append(change)
        self._labels[change.faces] = change.before
        return True

    def redo(self) -> bool:
        """Do again what was undone last; False if there is nothing, or something else was done since."""
        if not self._undone:
            return False
        change = self._undone.pop()
        self._done.append(change)
        self._labels[change.faces] = change.after
        return True
