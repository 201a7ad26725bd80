"""Percentages as text; 0 and 100 are printed only if exact."""

from __future__ import annotations

ROUNDING_ERROR = 1e-7
"""Percent by which a sum of shares may miss 0 or 100 and still be meant to be it."""


def rounded(value: float, digits: int = 1) -> str:
    """A percentage without its sign: 100 only for 100, 0 only for 0.

    Values that would round to 100 are rounded down ("99.9"); positive values that would round to 0 are "<0.1".

    Args:
        value: percent. Above 100 and below 0 it is rounded as usual.
        digits: after the decimal point.
    """
    text, step = f"{value:.{digits}f}", 10.0**-digits
    if float(text) == 100 and value < 100 - ROUNDING_ERROR:
        return f"{100 - step:.{digits}f}"
    if float(text) == 0:
        return f"<{step:.{digits}f}" if value > ROUNDING_ERROR else f"{0:.{digits}f}"
    return text


def percent(share: float, digits: int = 0) -> str:
    """A share in [0, 1] as text, e.g. "46 %"; see `rounded`."""
    return f"{rounded(100 * share, digits)} %"
