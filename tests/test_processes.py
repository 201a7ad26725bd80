"""Workers draw what this process draws, beside threads that would lock a fork for good, and share the memory of shapes."""

import threading
from pathlib import Path

import pytest
import torch

from mvdecor.engine.loader import batches
from mvdecor.processes import SharedTensors, worker_context
from mvdecor.shapes.loading import load_shapes
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from tests.shapes.test_loading import Fake
from tests.systems.test_loops import RENDERING, fabric, shape_views

LOCK = threading.Lock()
"""In the place of any lock of a library."""


class LockedSource:
    """Draws under a lock, as a library's call would."""

    def draw(self, seed, step, items=None):
        with LOCK:
            return torch.full((2,), seed + step)


class LockedShapes(Fake):
    def load(self, id):
        with LOCK:
            return super().load(id)


@pytest.fixture
def lock_is_held():
    """A thread of this process holds the lock while workers start."""
    held, done = threading.Event(), threading.Event()

    def hold():
        with LOCK:
            held.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    yield
    done.set()
    thread.join()


def test_workers_start_while_a_thread_holds_a_lock(lock_is_held):
    drawn = list(batches(fabric(), LockedSource(), 10, range(3), range(2), workers=2))
    assert [batch.tolist() for batch in drawn] == [[10, 10], [11, 11], [12, 12]]
    shapes, _ = load_shapes(LockedShapes(), ["a", "b"], workers=2)
    assert [shape.id for shape in shapes] == ["a", "b"]


@pytest.mark.parametrize("kind", ["pairs", "labelled"])
def test_workers_draw_the_same_batches(kind):
    stage = shape_views(2)
    source = (
        PairSource(stage, RENDERING, 2, 60) if kind == "pairs" else LabelledSource(stage, RENDERING, [range(8)] * 2, 4)
    )
    here, there = (list(batches(fabric(), source, 3, range(4), range(len(source)), workers)) for workers in (0, 2))
    for ours, theirs in zip(here, there, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert (ours.shape_ids, ours.views) == (theirs.shape_ids, theirs.views)
        if kind == "labelled":
            assert torch.equal(ours.labels, theirs.labels)
        else:
            assert torch.equal(ours.matches.points, theirs.matches.points)


def look(content, queue) -> None:
    """In a worker: what arrived, whether its memory is the anonymous file's, and that a change stays here."""
    first = content["first"]
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if "memfd:mvdecor" in line]
    shared = any(int(start, 16) <= first.data_ptr() < int(end, 16) for start, end in spans)
    first += 1
    queue.put((shared, first.tolist(), content["words"], [list(x.shape) for x in content["more"]]))


def test_tensors_are_shared_until_they_are_written_to():
    first = torch.arange(6).reshape(2, 3).T  # not contiguous
    content = {
        "first": first,
        "again": first,
        "words": "as they are",
        "more": (torch.empty(0, 4), torch.ones(5, dtype=torch.bool)),
    }
    shared, context = SharedTensors(content), worker_context()
    queue = context.SimpleQueue()
    workers = [context.Process(target=look, args=(shared, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    shared.close()
    for _ in workers:
        assert queue.get() == (True, [[1, 4], [2, 5], [3, 6]], "as they are", [[0, 4], [5]])
    for worker in workers:
        worker.join()
    assert first.tolist() == [[0, 3], [1, 4], [2, 5]], "what a worker changes is its own"
