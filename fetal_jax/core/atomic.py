"""Atomic replacement of files and folders, whatever fails while they are written; and locks on them."""

import contextlib
import fcntl
import os
import pathlib
import shutil
from collections.abc import Iterator


@contextlib.contextmanager
def replacing_file(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A path beside `path`, of the same suffix, to write to; it takes the place of `path` when the block succeeds.

    When the block fails `path` is as it was and nothing else is left. The folder must exist.
    """
    path = pathlib.Path(path)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")  # libraries choose the format by the suffix
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """A fresh folder beside `path` to write into; it takes the place of `path` when the block succeeds.

    When the block fails `path` is as it was and nothing else is left. A folder cannot be renamed onto another, so the
    old one first moves to `NAME.old`: after a kill just then `surviving_folder` finds it, and the next call moves it
    back.
    """
    path = pathlib.Path(path)
    partial, old = path.with_name(path.name + ".partial"), _old(path)
    if surviving_folder(path) == old:
        old.rename(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        yield partial
        shutil.rmtree(old, ignore_errors=True)
        if path.exists():
            path.rename(old)
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if surviving_folder(path) == old:
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


def surviving_folder(path: str | os.PathLike) -> pathlib.Path:
    """Where to read a folder of `replacing_folder`: `path`, or `NAME.old` where a kill left only that."""
    path = pathlib.Path(path)
    return _old(path) if _old(path).is_dir() and not path.exists() else path


@contextlib.contextmanager
def locked(path: str | os.PathLike) -> Iterator[None]:
    """Holds a file or folder that exists for this process; a killed one holds nothing.

    Raises BlockingIOError, before the block, if another holder has it.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _old(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(path.name + ".old")
