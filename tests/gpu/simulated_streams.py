"""Streams of the simulated device, which runs everything at once and in order: what a GPU might do in another order is found.

Each stream counts its operations and knows up to which count of each other stream they come later (vector clocks); so does the
host.
An operation on a stream raises `Race` if it reads what another stream may not have written yet, writes what another may still
read or write, or takes memory that was freed while another stream may still use it: PyTorch gives freed memory to the stream
that it was taken on, without a wait.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

Clock = dict["Stream", int]


class Race(RuntimeError):
    """Two streams use one memory, and neither waits for the other."""


def _join(clock: Clock, other: Clock) -> None:
    for stream, count in other.items():
        clock[stream] = max(clock.get(stream, 0), count)


class Memory:
    """What views of one tensor share: who wrote it last, and up to which count each stream used it."""

    def __init__(self, owner: Stream) -> None:
        self.owner = owner
        self.written: Clock = {}
        self.used: Clock = {}

    def __del__(self) -> None:
        if self.used:
            self.owner.freed.append(self.used)


class Event:
    """A place in a stream."""

    def __init__(self, clock: Clock) -> None:
        self.clock = dict(clock)


class Stream:
    """As `torch.cuda.Stream`."""

    def __init__(self, streams: Streams) -> None:
        self.clock: Clock = {}
        self.freed: list[Clock] = []
        self._streams = streams

    def record_event(self) -> Event:
        """The place that the stream is at."""
        return Event(self.clock)

    def wait_event(self, event: Event) -> None:
        """Go on only after an event."""
        _join(self.clock, event.clock)

    def wait_stream(self, other: Stream) -> None:
        """Go on only after what another stream has been given so far."""
        _join(self.clock, other.clock)

    def run(self, read: Iterable[Memory], written: Iterable[Memory], taken: bool) -> None:
        """An operation; `taken`: it takes memory."""
        _join(self.clock, self._streams.host)  # what the host has waited for is over
        if taken:
            for used in self.freed:
                self._check(used, "takes memory that was freed, but is still used")
            self.freed.clear()
        for memory in read:
            self._check(memory.written, "reads what is not written yet")
        for memory in written:
            self._check(memory.used, "writes what is still used")
        self.clock[self] = now = self.clock.get(self, 0) + 1
        for memory in written:
            memory.written = {self: now}
        for memory in (*read, *written):
            memory.used[self] = now

    def _check(self, others: Clock, what: str) -> None:
        for stream, count in others.items():
            if self.clock.get(stream, 0) < count and stream is not self:
                raise Race(f"{self._streams.name(self)} {what} by {self._streams.name(stream)}")


class Streams:
    """Those of the device, and what the host knows to be over.

    Attributes:
        current: what operations run on.
        host: up to which count the host has waited for each stream.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """One stream, nothing launched."""
        self.main = self.current = Stream(self)
        self.host: Clock = {}

    def name(self, stream: Stream) -> str:
        """For messages."""
        return "the main stream" if stream is self.main else "a side stream"

    def make(self, *_: object) -> Stream:
        """`torch.cuda.Stream(device)`."""
        return Stream(self)

    def host_waits(self) -> None:
        """For the current stream."""
        _join(self.host, self.current.clock)

    @contextlib.contextmanager
    def use(self, stream: Stream) -> Iterator[None]:
        """`torch.cuda.stream(stream)`."""
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before
