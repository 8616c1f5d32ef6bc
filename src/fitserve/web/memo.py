"""Answers that are kept for a while, and heavy ones made one after the other.

Threads of Python share one processor: two plans at a time are not done sooner, and everything that should be at once, a
slider that moves, would wait for both.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

T = TypeVar("T")
_HEAVY = Lock()


class Memo(Generic[T]):
    """The newest `most` answers by their question."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = Lock()

    def of(self, key: Hashable, make: Callable[[], T]) -> T:
        """The answer that is kept under `key`, else the one that `make` gives; errors are not kept."""
        found = self._look(key)
        if found:
            return found[0]
        with _HEAVY:
            found = self._look(key)  # somebody else may have asked the same meanwhile
            if found:
                return found[0]
            made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return made

    def _look(self, key: Hashable) -> tuple[T] | None:
        with self._lock:
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return (self._kept[key],)
