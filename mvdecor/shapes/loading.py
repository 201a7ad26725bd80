"""The interface that every reader has, and loading many shapes with a policy for bad ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Protocol, overload

from mvdecor.errors import InputError
from mvdecor.processes import worker_context
from mvdecor.progress import with_progress
from mvdecor.recent import Recent
from mvdecor.shapes.shape import Shape
from mvdecor.shapes.store import ShapeStore, Summary

IN_MEMORY = 32
"""Shapes of a large data set that are in memory at once, in each process."""


class ShapeSet(Protocol):
    """What all readers (`PartNet`, `RenderPeople`, …) have in common; a reader of your own needs no more than this.

    They also have `files(id, labels) -> list[Path]`, the files that a shape is read from. With it a stage can tell without
    reading meshes whether its result is up to date, and a `ShapeStore` reads each shape only once.
    """

    label_names: tuple[str, ...]
    """Name of each label; () if the set has no labels."""

    def ids(self, split: str) -> list[str]:
        """Ids of "train", "val", "test", "unlabelled" (what may be seen without labels: not val, not test) or "all"."""
        ...

    def load(self, id: str) -> Shape:
        """The shape, normalised to the unit sphere, labelled if it has labels. Raises InputError if it is bad."""
        ...


class LazyShapes(Sequence[Shape]):
    """Shapes that are read when they are used; the `IN_MEMORY` that were used last stay in memory.

    Args:
        store: where they are read from.
        summaries: what is known of each, by its id.

    Attributes:
        ids: their ids, in order.
    """

    def __init__(self, store: ShapeStore, summaries: Mapping[str, Summary]) -> None:
        self.store, self.summaries = store, summaries
        self.ids = list(summaries)
        self._recent: Recent[Shape] = Recent(IN_MEMORY)

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> Shape: ...

    @overload
    def __getitem__(self, index: slice) -> LazyShapes: ...

    def __getitem__(self, index: int | slice) -> Shape | LazyShapes:
        if isinstance(index, slice):
            return LazyShapes(self.store, {id: self.summaries[id] for id in self.ids[index]})
        id = self.ids[index]
        return self._recent.get(id, lambda: self.store.load(id))

    def __reduce__(self) -> tuple:
        return LazyShapes, (self.store, self.summaries)  # a worker reads its own


def load_shapes(
    shape_set: ShapeSet, ids: Iterable[str], on_error: str = "raise", workers: int = 0
) -> tuple[LazyShapes, list[tuple[str, str]]]:
    """Make sure that shapes can be read, and give those that can, in the given order, to be read when they are used.

    Args:
        shape_set: any reader; a `ShapeStore` spares reading a shape from its own files more than once.
        ids: ids to load.
        on_error: "raise" at the first bad shape, or "skip" it with a one-line warning on standard output.
        workers: processes that read; 0 reads in this one.

    Returns:
        The shapes, and (id, reason) of each skipped one, to be listed again at the end of a run.

    Raises:
        InputError: a bad shape under "raise", every shape bad under "skip", no ids, or an unknown `on_error`.
    """
    if on_error not in ("raise", "skip"):
        raise InputError(f"unknown on_error {on_error!r}; choose raise or skip")
    store = shape_set if isinstance(shape_set, ShapeStore) else ShapeStore(shape_set, None)
    summaries: dict[str, Summary] = {}
    skipped: list[tuple[str, str]] = []
    ids = list(ids)
    for id, summary in with_progress(_summarize(store, ids, workers), "reading shapes", len(ids)):
        if isinstance(summary, Summary):
            summaries[id] = summary
        elif on_error == "raise":
            raise summary
        else:
            skipped.append((id, str(summary)))
            _announced.discard((id, str(summary)))  # whoever calls this is told, whatever was skipped before
            announce_skipped(id, str(summary))
    if not summaries:
        if not skipped:
            raise InputError("no shape to work with: the list of ids is empty; check the split")
        raise InputError(f"no shape to work with: all {len(skipped)} were skipped, the first because: {skipped[0][1]}")
    return LazyShapes(store, summaries), skipped


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


def _summarize(store: ShapeStore, ids: list[str], workers: int) -> Iterator[tuple[str, Summary | InputError]]:
    """Each id with what is known of its shape, or with what is wrong with it."""
    if workers == 0 or len(ids) < 2:
        for id in ids:
            yield id, _summary(store, id)
        return
    with ProcessPoolExecutor(workers, worker_context()) as pool:
        try:
            results = pool.map(partial(_path_and_summary, store), ids, chunksize=4)
            for id, (path, summary) in zip(ids, results):
                if path is not None:
                    store.paths[id] = path
                yield id, summary
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _path_and_summary(store: ShapeStore, id: str) -> tuple[Path | None, Summary | InputError]:
    """In a worker: what `_summary` gives, and the shape's file, which this process then need not look for."""
    summary = _summary(store, id)
    return store.paths.get(id), summary


def _summary(store: ShapeStore, id: str) -> Summary | InputError:
    try:
        return store.summary(id)
    except InputError as error:
        return error


def labelled_summary(shape_set: ShapeStore, id: str, on_error: str) -> tuple[Summary | None, list[tuple[str, str]]]:
    """What is known of a shape that must have labels; under "skip", None and the reason if it is bad.

    Raises:
        InputError: a bad shape, or one without labels, under "raise".
    """
    try:
        summary = shape_set.summary(id)
        if summary.labels is None:
            raise InputError(
                f"shape {id}: it is in a labelled split and has no face labels: add its labels file, take it out of the "
                "split, or skip such shapes with data.on_error=skip"
            )
        return summary, []
    except InputError as error:
        if on_error != "skip":
            raise
        announce_skipped(id, str(error))
        return None, [(id, str(error))]


def labels_by_shape(
    shape_set: ShapeStore, ids: Sequence[str], on_error: str
) -> tuple[dict[str, set[int]], list[tuple[str, str]]]:
    """The labels that each of some labelled shapes shows, by id, and the skipped shapes; see `labelled_summary`."""
    labels: dict[str, set[int]] = {}
    skipped: list[tuple[str, str]] = []
    for id in with_progress(ids, "reading labelled shapes", len(ids)):
        summary, bad = labelled_summary(shape_set, id, on_error)
        skipped += bad
        if summary is not None and summary.labels is not None:
            labels[id] = set(summary.labels)
    return labels, skipped


def load_labelled(shape_set: ShapeStore, id: str, on_error: str) -> tuple[Shape | None, list[tuple[str, str]]]:
    """The shape of `labelled_summary`."""
    summary, skipped = labelled_summary(shape_set, id, on_error)
    return None if summary is None else shape_set.load(id), skipped
