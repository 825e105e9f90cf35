"""What is expensive to read is read once, as long as there is memory to keep it."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Once(Generic[Item]):
    """`read` by index, each item kept from its first reading on. Any thread may ask.

    Items that `memory` bytes have no room for are read whenever they are asked for.
    """

    def __init__(self, read: Callable[[int], Item], nbytes: Callable[[Item], int], memory: int):
        self._read, self._nbytes, self._room = read, nbytes, memory
        self._kept: dict[int, Item] = {}
        self._lock = threading.Lock()

    def __getitem__(self, i: int) -> Item:
        # One reader at a time: two threads asking for one item must not read it twice.
        with self._lock:
            return self._kept[i] if i in self._kept else self._first(i)

    def _first(self, i: int) -> Item:
        item = self._read(i)
        if self._nbytes(item) <= self._room:
            self._kept[i] = item
            self._room -= self._nbytes(item)
        return item
