"""In-memory cache of items that are expensive to read, within a limit of bytes."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class MemoryCache(Generic[Item]):
    """Items by index: each is read at its first use and kept. Safe for threads.

    Items that do not fit into `memory` bytes any more are read at every use.
    """

    def __init__(self, read: Callable[[int], Item], nbytes: Callable[[Item], int], memory: int):
        self._read, self._nbytes, self._room = read, nbytes, memory
        self._kept: dict[int, Item] = {}
        self._lock = threading.Lock()

    def __getitem__(self, i: int) -> Item:
        # One reader at a time: two threads that ask for the same item must not read it twice.
        with self._lock:
            return self._kept[i] if i in self._kept else self._first(i)

    def _first(self, i: int) -> Item:
        item = self._read(i)
        if self._nbytes(item) <= self._room:
            self._kept[i] = item
            self._room -= self._nbytes(item)
        return item
