"""Workers sample what this process samples, beside threads that would lock a fork for good."""

import threading

import pytest
import torch

from mvdecor.engine.loader import batches
from mvdecor.shapes.loading import load_shapes
from mvdecor.systems.mvdecor.batches import LabelledSource, PairSource
from tests.shapes.test_loading import Fake
from tests.systems.test_loops import RENDERING, fabric, shape_views

LOCK = threading.Lock()
"""In the place of any lock of a library."""


class LockedSource:
    """Samples under a lock, as a library's call would."""

    def sample(self, seed, step, items=None):
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
    sampled = list(batches(fabric(), LockedSource(), 10, range(3), range(2), workers=2))
    assert [batch.tolist() for batch in sampled] == [[10, 10], [11, 11], [12, 12]]
    shapes, _ = load_shapes(LockedShapes(), ["a", "b"], workers=2)
    assert shapes.ids == ["a", "b"]


@pytest.mark.parametrize("kind", ["pairs", "labelled"])
def test_workers_sample_the_same_batches(kind):
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
