"""Loops compiled by Numba, and kept on disk where that is possible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba


def compiled(function: Callable[..., Any]) -> Any:
    """A function compiled by Numba when it is first called, without Python's lock. Division by zero gives infinity.

    Its machine code is kept beside the file or in the user's cache folder (or NUMBA_CACHE_DIR). Where neither can be written
    to, each process compiles anew, which takes some seconds.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # no place for it
        return numba.njit(nogil=True, error_model="numpy")(function)
