"""The files of a user that prediction reads, and those that it would write."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from fetal_jax.core.types import UserError


@contextlib.contextmanager
def reading(file: Path) -> Iterator[None]:
    """Turns what a reader complains of into a UserError that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise UserError(f"{file} cannot be read ({error.strerror or error}): check its rights, or remove it") from error
    except ValueError as error:
        raise UserError(f"{file} {error}: export it again, or remove it") from error


def check_outputs(outputs: Iterable[tuple[Path, str]], out: Path) -> None:
    """Raises UserError where two of the pairs (read file, name of the file to be written in `out`) share a name.

    Or where `out` is a folder that is read from: its files would be overwritten.
    """
    seen: dict[str, Path] = {}
    for file, name in outputs:
        if file.parent.resolve() == out.resolve():
            raise UserError(f"--out {out} is the folder of {file}: its images would be overwritten, choose another")
        if name in seen:
            raise UserError(f"{file} and {seen[name]} would both write {name}: predict them into two folders")
        seen[name] = file
