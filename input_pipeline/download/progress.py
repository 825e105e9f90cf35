"""A line on the terminal that says how far a file is; nothing where there is no terminal."""

import sys
import time

EVERY_S = 0.5


class Progress:
    def __init__(self, name: str, size: int):
        self._name, self._size = name, size
        self._next = 0.0 if sys.stderr.isatty() else float("inf")

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error) -> None:
        if 0 < self._next < float("inf"):
            print(file=sys.stderr)

    def at(self, done: int) -> None:
        """`done` of the file's bytes are here."""
        now = time.monotonic()
        if now >= self._next or (done == self._size and self._next < float("inf")):
            share = done / max(self._size, 1)
            print(
                f"\r{self._name}: {done / 1e6:.0f} of {self._size / 1e6:.0f} MB, {share:.0%}", end="", file=sys.stderr
            )
            sys.stderr.flush()
            self._next = now + EVERY_S
