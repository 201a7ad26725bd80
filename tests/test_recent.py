from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from mvdecor.recent import Recent


@given(st.integers(1, 4), st.lists(st.integers(0, 6)))
def test_what_was_used_longest_ago_is_forgotten(size, asked):
    recent: Recent[str] = Recent(size)
    made: list[int] = []
    order: list[int] = []  # the longest unused first
    for key in asked:
        assert recent.get(key, partial(_make, key, made)) == f"thing {key}"
        if key in order:
            order.remove(key)
        else:
            assert made.pop() == key
        order = [*order, key][-size:]
        assert not made and len(recent) == len(order)


def _make(key: int, made: list[int]) -> str:
    made.append(key)
    return f"thing {key}"


def test_values_that_weigh_too_much_together_are_dropped_and_one_alone_is_not():
    recent: Recent[int] = Recent(3, weigh=lambda value: value, most=10)
    for key, value, left in ((0, 4, 1), (1, 5, 2), (0, 4, 2), (2, 6, 2), (3, 50, 1), (4, 1, 1), (5, 1, 2)):
        assert recent.get(key, lambda value=value: value) == value
        assert len(recent) == left
    assert recent.get(4, lambda: -1) == 1
