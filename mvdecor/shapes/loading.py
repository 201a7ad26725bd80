"""The interface that every reader has, and loading many shapes with a policy for bad ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from mvdecor.errors import InputError
from mvdecor.shapes.shape import Shape


class ShapeSet(Protocol):
    """What `PartNet`, `RenderPeople` and `MeshFolder` have in common; a reader of your own needs no more than this."""

    label_names: tuple[str, ...]
    """Name of each label; () if the set has no labels."""

    def ids(self, split: str) -> list[str]:
        """Ids of "train", "val", "test", "unlabelled" (what may be seen without labels: not val, not test) or "all"."""
        ...

    def load(self, id: str) -> Shape:
        """The shape, normalised to the unit sphere, labelled if it has labels. Raises InputError if it is bad."""
        ...


def load_shapes(
    shape_set: ShapeSet, ids: Iterable[str], on_error: str = "raise"
) -> tuple[list[Shape], list[tuple[str, str]]]:
    """Load shapes in the given order.

    Args:
        shape_set: any reader.
        ids: ids to load.
        on_error: "raise" at the first bad shape, or "skip" it with a one-line warning on standard output.

    Returns:
        The shapes that loaded, and (id, reason) of each skipped one, to be listed again at the end of a run.

    Raises:
        InputError: a bad shape under "raise", every shape bad under "skip", no ids, or an unknown `on_error`.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"unknown on_error {on_error!r}; choose raise or skip")
    shapes: list[Shape] = []
    skipped: list[tuple[str, str]] = []
    for id in ids:
        try:
            shapes.append(shape_set.load(id))
        except InputError as error:
            if on_error == "raise":
                raise
            skipped.append((id, str(error)))
            print(f"warning: skipped shape {id}: {error}")
    if not shapes:
        if not skipped:
            raise InputError("no shape to work with: the list of ids is empty; check the split")
        raise InputError(f"no shape to work with: all {len(skipped)} were skipped, the first because: {skipped[0][1]}")
    return shapes, skipped
