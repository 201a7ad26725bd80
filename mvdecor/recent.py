"""A least-recently-used (LRU) cache."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """Values that are computed when first asked for; of more than `size`, the least recently used is dropped.

    Args:
        size: how many values are kept at most.
        weigh: what a value counts, in bytes; None: nothing.
        most: what the values may count together; the one used last is kept whatever it counts.
    """

    def __init__(self, size: int, weigh: Callable[[Value], int] | None = None, most: int = 0) -> None:
        self._size, self._weigh, self._most = size, weigh, most
        self._values: OrderedDict[Hashable, Value] = OrderedDict()

    def __len__(self) -> int:
        return len(self._values)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """The value of a key, computed if it is not in the cache."""
        made = key not in self._values
        if made:
            self._values[key] = make()
        self._values.move_to_end(key)
        if len(self._values) > self._size:
            self._values.popitem(last=False)
        if made and self._weigh is not None:
            weights = [self._weigh(value) for value in self._values.values()]
            while len(self._values) > 1 and sum(weights) > self._most:
                self._values.popitem(last=False)
                weights.pop(0)
        return self._values[key]
