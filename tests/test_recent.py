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
