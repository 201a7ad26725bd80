"""Checks of a loss's settings, named in the message as on the command line."""

from __future__ import annotations

import math

from mvdecor.errors import InputError


def check_positive(**settings: float) -> None:
    """Raise InputError, naming `loss.KEY`, unless each value is a finite number above 0."""
    for key, value in settings.items():
        if not _is_number(value) or value <= 0:
            raise InputError(f"loss.{key}={value}: give a number above 0")


def check_not_negative(**settings: float) -> None:
    """Raise InputError, naming `loss.KEY`, unless each value is a finite number of at least 0."""
    for key, value in settings.items():
        if not _is_number(value) or value < 0:
            raise InputError(f"loss.{key}={value}: give a number of at least 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
