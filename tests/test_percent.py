"""Percentages never claim all or nothing unless it is so."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mvdecor.percent import percent, rounded


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (100.0, 1, "100.0"),
        (100 * 2148 / 2156, 0, "99"),  # 8 of 2156 faces are missing
        (99.96, 1, "99.9"),
        (99.94, 1, "99.9"),
        (99.999999, 2, "99.99"),
        (0.0, 1, "0.0"),
        (0.04, 1, "<0.1"),
        (0.4, 0, "<1"),
        (0.06, 1, "0.1"),
        (45.67, 1, "45.7"),
        (sum([0.1] * 10) * 100, 1, "100.0"),  # 99.99999999999999
        (-0.04, 1, "0.0"),
        (123.44, 1, "123.4"),
    ],
)
def test_known_values(value, digits, text):
    assert rounded(value, digits) == text


@given(st.integers(1, 10**6), st.data(), st.integers(0, 3))
def test_only_all_is_100_and_only_nothing_is_0(whole, data, digits):
    part = data.draw(st.integers(0, whole))
    text = percent(part / whole, digits).removesuffix(" %")
    assert (float(text.lstrip("<")) == 100) == (part == whole)
    assert (text.startswith("<") or float(text) > 0) == (part > 0)
    assert abs(float(text.lstrip("<")) - 100 * part / whole) <= 10**-digits * 1.0001
