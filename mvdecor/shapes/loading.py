"""The interface that every reader has, and loading many shapes with a policy for bad ones."""

from __future__ import annotations

import pickle
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Protocol

from mvdecor.errors import InputError
from mvdecor.processes import worker_context
from mvdecor.progress import told
from mvdecor.shapes.shape import UNDETERMINED, Shape


class ShapeSet(Protocol):
    """What `PartNet`, `RenderPeople` and `MeshFolder` have in common; a reader of your own needs no more than this.

    They also have `files(id, labels) -> list[Path]`, the files that a shape is read from, so that a stage can tell without
    reading meshes whether its result is still up to date. Without it the shapes are read for that.
    """

    label_names: tuple[str, ...]
    """Name of each label; () if the set has no labels."""

    def ids(self, split: str) -> list[str]:
        """Ids of "train", "val", "test", "unlabelled" (what may be seen without labels: not val, not test) or "all"."""
        ...

    def load(self, id: str) -> Shape:
        """The shape, normalised to the unit sphere, labelled if it has labels. Raises InputError if it is bad."""
        ...


def load_shapes(
    shape_set: ShapeSet, ids: Iterable[str], on_error: str = "raise", workers: int = 0
) -> tuple[list[Shape], list[tuple[str, str]]]:
    """Load shapes in the given order.

    Args:
        shape_set: any reader.
        ids: ids to load.
        on_error: "raise" at the first bad shape, or "skip" it with a one-line warning on standard output.
        workers: processes that read; 0 reads in this one.

    Returns:
        The shapes that loaded, and (id, reason) of each skipped one, to be listed again at the end of a run.

    Raises:
        InputError: a bad shape under "raise", every shape bad under "skip", no ids, or an unknown `on_error`.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"unknown on_error {on_error!r}; choose raise or skip")
    shapes: list[Shape] = []
    skipped: list[tuple[str, str]] = []
    ids = list(ids)
    for id, shape in told(_read(shape_set, ids, workers), "reading shapes", len(ids)):
        if isinstance(shape, Shape):
            shapes.append(shape)
        elif on_error == "raise":
            raise shape
        else:
            skipped.append((id, str(shape)))
            _announced.discard((id, str(shape)))  # whoever calls this is told, whatever was skipped before
            announce_skipped(id, str(shape))
    if not shapes:
        if not skipped:
            raise InputError("no shape to work with: the list of ids is empty; check the split")
        raise InputError(f"no shape to work with: all {len(skipped)} were skipped, the first because: {skipped[0][1]}")
    return shapes, skipped


_announced: set[tuple[str, str]] = set()
_listed: set[tuple[str, str]] = set()
"""(id, reason) that this process has said; a command of many stages reads the same bad shape again and again."""


def announce_skipped(id: str, reason: str) -> None:
    """Warn of a skipped shape, on standard output, unless this process has done so already."""
    if (id, reason) not in _announced:
        _announced.add((id, reason))
        print(f"warning: skipped shape {id}: {reason}", flush=True)


def list_skipped(skipped: Iterable[Sequence[str]], again: bool = False) -> None:
    """Print the skipped shapes, (id, reason) each, at the end of a stage: those not listed yet, or all of them `again`."""
    pairs = [(id, reason) for id, reason in skipped if again or (id, reason) not in _listed]
    _listed.update(pairs)
    if pairs:
        print(f"skipped {len(pairs)} shapes that could not be read:")
        for id, reason in pairs:
            print(f"  {id}: {reason}")


def _read(shape_set: ShapeSet, ids: list[str], workers: int) -> Iterator[tuple[str, Shape | InputError]]:
    """Each id with its shape, or with what is wrong with it."""
    if workers == 0 or len(ids) < 2:
        for id in ids:
            yield id, _load(shape_set, id)
        return
    with ProcessPoolExecutor(workers, worker_context()) as pool:
        try:
            for id, content in zip(ids, pool.map(partial(_load_pickled, shape_set), ids, chunksize=4)):
                yield id, pickle.loads(content)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _load(shape_set: ShapeSet, id: str) -> Shape | InputError:
    try:
        return shape_set.load(id)
    except InputError as error:
        return error


def _load_pickled(shape_set: ShapeSet, id: str) -> bytes:
    """As bytes: tensors by themselves would each take an open file of shared memory."""
    return pickle.dumps(_load(shape_set, id))


def load_labelled(shape_set: ShapeSet, id: str, on_error: str) -> tuple[Shape | None, list[tuple[str, str]]]:
    """Load a shape that must have labels; under "skip", None and the reason if it is bad.

    Raises:
        InputError: a bad shape, or one without labels, under "raise".
    """
    try:
        shape = shape_set.load(id)
        if shape.face_labels is None:
            raise InputError(
                f"shape {id}: it is in a labelled split and has no face labels: add its labels file, take it out of the "
                "split, or skip such shapes with data.on_error=skip"
            )
        return shape, []
    except InputError as error:
        if on_error != "skip":
            raise
        announce_skipped(id, str(error))
        return None, [(id, str(error))]


def labels_of(shape: Shape) -> set[int]:
    """The labels that a labelled shape shows, without undetermined."""
    assert shape.face_labels is not None
    return set(shape.face_labels.unique().tolist()) - {UNDETERMINED}
