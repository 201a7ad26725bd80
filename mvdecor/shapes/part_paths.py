"""Paths of PartNet's part trees, looked up in the official label lists, and what became of each path of a shape."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from mvdecor.percent import percent
from mvdecor.shapes.shape import UNDETERMINED, Shape

LISTED = "listed"
LEVEL_LEFT_OUT = "level left out"
ANCESTOR = "ancestor"
AMBIGUOUS = "ambiguous"
UNKNOWN = "unknown"
NO_LEAF = "no leaf"

WARN_ABOVE = 0.05
"""Share of a shape's faces or area that unknown paths may leave undetermined without a warning."""


@dataclass(frozen=True)
class ListedPath:
    """What the lists say of a tree's path.

    Attributes:
        outcome: "listed": the category's list names the path. "level left out": the list names it with one more inner
            level, and that is the only such path. "ancestor": the list names an ancestor only. "ambiguous": the same,
            and several listed paths have one more level. "unknown": not even its first name is listed. "no leaf": there
            is no path, since no leaf of the tree holds the part file.
        list_path: the deepest path of the list that it was matched with; None if there is none.
        label: of the deepest path of `list_path` and its ancestors that the level's list names; -1 if none.
    """

    outcome: str
    list_path: str | None
    label: int

    @property
    def lost(self) -> bool:
        """Whether its faces are undetermined because the list does not name the path.

        False where the list names it and the level has no label for it, and for part files of no leaf: those are what the
        annotators could not name.
        """
        return self.label == UNDETERMINED and self.outcome in (ANCESTOR, AMBIGUOUS, UNKNOWN)


class PathList:
    """The paths of a category.

    Args:
        listed: every path of the category's whole list.
        labels: the paths of the level, in the order of their labels.
    """

    def __init__(self, listed_paths: Iterable[str], labels: Sequence[str]) -> None:
        self._label_of_path = {path: label for label, path in enumerate(labels)}
        self._listed: set[str] = set()
        self._below: dict[str, set[str]] = {}
        for path in {*listed_paths, *labels}:
            self._add(path)

    def find(self, path: str | None) -> ListedPath:
        """What the lists say of a tree's path; None stands for part files that no leaf holds.

        A level is only taken to be left out at the place where the tree leaves the list: below the path's deepest listed
        ancestor.
        """
        if path is None:
            return ListedPath(NO_LEAF, None, UNDETERMINED)
        ancestor = self._deepest_listed(path)
        if ancestor == path:
            return ListedPath(LISTED, path, self._label(path))
        if ancestor is None:
            return ListedPath(UNKNOWN, None, UNDETERMINED)
        suffix = path.removeprefix(ancestor)
        while suffix:
            longer = [child + suffix for child in self._below.get(ancestor, ()) if child + suffix in self._listed]
            if len(longer) == 1:
                return ListedPath(LEVEL_LEFT_OUT, longer[0], self._label(longer[0]))
            if longer:
                return ListedPath(AMBIGUOUS, ancestor, self._label(ancestor))
            suffix = suffix.rpartition("/")[0]
        return ListedPath(ANCESTOR, ancestor, self._label(ancestor))

    def _add(self, path: str) -> None:
        """List a path and its ancestors."""
        while path and path not in self._listed:
            self._listed.add(path)
            parent = path.rpartition("/")[0]
            self._below.setdefault(parent, set()).add(path)
            path = parent

    def _deepest_listed(self, path: str) -> str | None:
        while path and path not in self._listed:
            path = path.rpartition("/")[0]
        return path or None

    def _label(self, path: str) -> int:
        """Label of the deepest path of `path` and its ancestors that the level names."""
        while path:
            if path in self._label_of_path:
                return self._label_of_path[path]
            path = path.rpartition("/")[0]
        return UNDETERMINED


@dataclass(frozen=True)
class PathMatch:
    """A path of a shape's tree, what the lists say of it, and how much of the shape it is.

    Attributes:
        path: the leaf's path in the tree; None for the part files that no leaf holds.
        listed_path: what the lists say of it.
        faces: share of the shape's faces, in [0, 1].
        area: share of the shape's area, in [0, 1].
    """

    path: str | None
    listed_path: ListedPath
    faces: float
    area: float

    def text(self) -> str:
        """E.g. "table/hutch (ancestor: table), 12 % of the faces, 40 % of the area"."""
        list_path = self.listed_path.list_path
        outcome = self.listed_path.outcome
        if list_path not in (None, self.path):
            outcome = f"{outcome}: {list_path}"
        subject = "part files of no leaf" if self.path is None else f"{self.path} ({outcome})"
        return f"{subject}, {percent(self.faces)} of the faces, {percent(self.area)} of the area"


def match_paths(
    shape: Shape, files: Tensor, paths: Sequence[str | None], listed_paths: Sequence[ListedPath]
) -> list[PathMatch]:
    """One `PathMatch` for each path of a shape, in order of first appearance.

    Args:
        shape: the shape.
        files: int64 [F], number of each face's part file.
        paths: path of each part file.
        listed_paths: what `PathList.find` gave for each of them.
    """
    faces = np.bincount(files.numpy(), minlength=len(paths)) / shape.num_faces
    area = np.bincount(files.numpy(), weights=shape.face_areas.double().numpy(), minlength=len(paths))
    areas = area / area.sum() if area.sum() > 0 else faces
    result = []
    for path in dict.fromkeys(paths):
        members = [number for number, file_path in enumerate(paths) if file_path == path]
        share_of_faces, share_of_area = float(faces[members].sum()), float(areas[members].sum())
        result.append(PathMatch(path, listed_paths[members[0]], share_of_faces, share_of_area))
    return result


def lost_paths_warning(matches: Sequence[PathMatch]) -> str | None:
    """What to warn of if unknown paths leave more than `WARN_ABOVE` of a shape undetermined; None if they do not."""
    lost = [match for match in matches if match.listed_path.lost]
    faces, area = sum(match.faces for match in lost), sum(match.area for match in lost)
    if max(faces, area) <= WARN_ABOVE:
        return None
    lost.sort(key=lambda match: max(match.faces, match.area), reverse=True)
    examples = "; ".join(match.text() for match in lost[:3]) + (f"; and {len(lost) - 3} more" if len(lost) > 3 else "")
    return (
        f"{percent(faces)} of the faces and {percent(area)} of the area are undetermined, since the category's list does not "
        f"name these paths of its tree: {examples}"
    )
