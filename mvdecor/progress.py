"""Progress lines at time intervals, for long loops without a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

INTERVAL = 30.0
"""Seconds between two lines."""

Element = TypeVar("Element")


class Timer:
    """Says when a line is due. Nothing but what is printed may depend on it.

    Args:
        interval: seconds between two lines.
        clock: seconds of any clock that does not go back.
    """

    def __init__(self, interval: float = INTERVAL, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval, self._clock = interval, clock
        self._start = self._last = clock()

    def due(self) -> bool:
        """Whether so many seconds went by since the last line (or the start)."""
        return self._clock() - self._last >= self._interval

    def printed(self) -> None:
        """Note that a line was printed."""
        self._last = self._clock()

    def text(self, count: int, total: int | None) -> str:
        """Time since the start, and how long the rest of `total` takes if it goes on like the first `count`."""
        elapsed = self._clock() - self._start
        return _minutes(elapsed) + ("" if total is None else f", {_minutes(elapsed / count * (total - count))} left")


_said: set[str] = set()


def say_once(line: str) -> None:
    """Print a line on standard output, unless this process has done so already."""
    if line not in _said:
        _said.add(line)
        print(line, flush=True)


def with_progress(
    elements: Iterable[Element],
    task: str,
    total: int | None,
    interval: float = INTERVAL,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Element]:
    """The elements; every `interval` seconds, a line such as "reading shapes: 12 of 400, 1.5 min, ..." is printed.

    Args:
        elements: what to go through.
        task: what is done with them.
        total: how many there are; None = not known.
        interval, clock: see `Timer`.
    """
    timer = Timer(interval, clock)
    for count, element in enumerate(elements, start=1):
        yield element
        if count != total and timer.due():
            print(f"{task}: {count}{'' if total is None else f' of {total}'}, {timer.text(count, total)}", flush=True)
            timer.printed()


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
