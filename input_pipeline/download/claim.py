"""A lock on a folder, for one download at a time."""

import contextlib
import fcntl
import os
import pathlib
from collections.abc import Iterator

from fetal_jax.core.types import UserError

LOCK = ".lock"


@contextlib.contextmanager
def claimed(folder: pathlib.Path) -> Iterator[None]:
    """Locks a folder, which it makes if need be, for this call; the lock of a killed process is released.

    The lock file is removed at the end, and the folder too if it is then empty.
    Raises UserError if another call, of any process, holds the lock.
    """
    lock = _take(folder)
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)
        os.close(lock)
        with contextlib.suppress(OSError):  # there is something in it
            folder.rmdir()


def _take(folder: pathlib.Path) -> int:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # its last holder removes the folder just now
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(lock, folder / LOCK):
                return lock
        except BlockingIOError:
            os.close(lock)
            raise UserError(
                f"{folder}: another download into it is running: wait for it and run the command again"
            ) from None
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # its last holder removed it just now


def _is_at(lock: int, path: pathlib.Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock), path.stat())
    except FileNotFoundError:
        return False
