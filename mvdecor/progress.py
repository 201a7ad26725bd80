"""Progress lines at time intervals, for long loops without a progress bar."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

EVERY = 30.0
"""Seconds between two lines."""

Element = TypeVar("Element")


class Timer:
    """Says when a line is due. Nothing but what is printed may depend on it.

    Args:
        every: seconds between two lines.
        clock: seconds of any clock that does not go back.
    """

    def __init__(self, every: float = EVERY, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._start = self._last = clock()

    def due(self) -> bool:
        """Whether so many seconds went by since the last line (or the start)."""
        return self._clock() - self._last >= self._every

    def printed(self) -> None:
        """Note that a line was printed."""
        self._last = self._clock()

    def text(self, count: int, total: int | None) -> str:
        """Time since the start, and how long the rest of `total` takes if it goes on like the first `count`."""
        spent = self._clock() - self._start
        return _minutes(spent) + ("" if total is None else f", {_minutes(spent / count * (total - count))} left")


_said: set[str] = set()


def say_once(line: str) -> None:
    """Print a line on standard output, unless this process has done so already."""
    if line not in _said:
        _said.add(line)
        print(line, flush=True)


def told(
    items: Iterable[Element],
    what: str,
    total: int | None,
    every: float = EVERY,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Element]:
    """The items; between two of them, if `every` seconds went by, a line such as "reading shapes: 12 of 400, 1.5 min, ...".

    Args:
        items: what to go through.
        what: what is done with them.
        total: how many there are; None = not known.
        every, clock: see `Timer`.
    """
    timer = Timer(every, clock)
    for count, item in enumerate(items, start=1):
        yield item
        if count != total and timer.due():
            print(f"{what}: {count}{'' if total is None else f' of {total}'}, {timer.text(count, total)}", flush=True)
            timer.printed()


def _minutes(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
