"""Files of prediction: errors of those it reads, checks of those it would write, and its tables."""

import contextlib
import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError

Row = dict[str, object]


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


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Writes rows of the same columns as CSV, atomically."""
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
