"""Tables of predictions."""

import csv
import pathlib
from collections.abc import Sequence

from fetal_jax.core.atomic import replacing_file

Row = dict[str, object]


def write_table(path: pathlib.Path, rows: Sequence[Row]) -> None:
    """Writes rows of the same columns as CSV, whole or not at all."""
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
