"""Undo and redo against a list of every state there was."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from mvdecor.apps.viewer.edits import Edits

FACES = 6
STEPS = st.one_of(
    st.tuples(st.just("put"), st.lists(st.booleans(), min_size=FACES, max_size=FACES), st.integers(-1, 3)),
    st.tuples(st.just("undo"), st.none(), st.none()),
    st.tuples(st.just("redo"), st.none(), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEPS, max_size=30))
def test_edits_against_a_list_of_states(steps):
    edits = Edits(np.full(FACES, -1))
    states, now = [np.full(FACES, -1)], 0
    for kind, faces, label in steps:
        if kind == "put":
            wanted = np.where(faces, label, states[now])
            changed = bool((wanted != states[now]).any())
            assert edits.put(np.array(faces), label) == changed
            if changed:
                states, now = [*states[: now + 1], wanted], now + 1
        elif kind == "undo":
            assert edits.undo() == (now > 0)
            now = max(0, now - 1)
        else:
            assert edits.redo() == (now + 1 < len(states))
            now = min(len(states) - 1, now + 1)
        np.testing.assert_array_equal(edits.labels, states[now])


def test_labels_of_each_face_and_copies():
    start = np.array([0, 1, 2])
    edits = Edits(start)
    assert edits.put(np.array([True, True, False]), np.array([5, 1, 7]))
    assert edits.labels.tolist() == [5, 1, 2]
    edits.labels[:] = 9
    start[:] = 9
    edits.undo()
    assert edits.labels.tolist() == [0, 1, 2]
