"""The published files of HC18, read and checked as a whole before anything is written."""

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fetal_jax.types import UserError
from input_pipeline.builders import common
from input_pipeline.builders.hc18.ellipse import Ellipse, fit_outline
from input_pipeline.images import PNG, decode_grey

FOLDER = "training_set"
TABLE = "training_set_pixel_size_and_HC.csv"
COLUMNS = ("filename", "pixel size(mm)", "head circumference (mm)")
SUFFIX = "_Annotation.png"
FILE_NAME = re.compile(r"(?P<subject>\d{3})_\d*HC\.png")


@dataclasses.dataclass(frozen=True)
class Head:
    """One annotated image."""

    path: Path
    subject: str
    shape: tuple[int, int]
    ellipse: Ellipse
    pixel_size_mm: float
    hc_mm: float  # as published; 0 is unknown

    @property
    def name(self) -> str:
        return self.path.stem


def read_source(source: str | Path) -> list[Head]:
    """All heads of a folder in the published layout, by name.

    Raises UserError, one line that names the files and what is wrong with each.
    """
    source = Path(source)
    _check_layout(source)
    problems: list[str] = []
    table = _read_table(source / TABLE, problems)
    files = {path.name for path in (source / FOLDER).glob("*.png") if not path.name.startswith(".")}
    images = {name for name in files if not name.endswith(SUFFIX)}
    problems += [f"{name} is in {TABLE} but not in {FOLDER}" for name in sorted(table.keys() - images)]
    for name in sorted(files - images):
        if name.replace(SUFFIX, ".png") not in images:
            problems.append(f"{name} has no image")
    heads = []
    for name in sorted(images):
        try:
            heads.append(_read_head(source / FOLDER / name, table))
        except ValueError as error:
            problems.append(str(error))
    common.refuse(source, problems, "restore or remove these files and rows")
    return heads


def _check_layout(source: Path) -> None:
    expected = f"expected the folder that holds {FOLDER}/ and {TABLE}"
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; {expected}")
    if source.name == FOLDER and not (source / FOLDER).is_dir():
        raise UserError(f"{source}: {expected}, that is its parent: --source {source.parent}")
    if not (source / FOLDER).is_dir():
        raise UserError(f"{source}: has no folder {FOLDER}/; {expected}")
    if not (source / TABLE).is_file():
        raise UserError(f"{source}: has no {TABLE}; {expected}")
    if not any((source / FOLDER).glob("*.png")):
        raise UserError(f"{source / FOLDER}: holds no PNG files; unpack training_set.zip of HC18 there")


def _read_table(path: Path, problems: list[str]) -> dict[str, tuple[float, float]]:
    """Pixel size and circumference in mm by file name. What is wrong with a row goes to `problems`."""
    table = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS[:2]) <= set(rows.fieldnames or ()):
            raise UserError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {rows.fieldnames}")
        for row in rows:
            name, pixel_size = row[COLUMNS[0]], _number(row[COLUMNS[1]])
            if name in table:
                problems.append(f"{name} has two rows in {TABLE}")
            if not 0 < pixel_size < np.inf:
                problems.append(f"{name} has pixel size {row[COLUMNS[1]]!r} in {TABLE}")
            circumference = _number(row.get(COLUMNS[2]))
            table[name] = pixel_size, circumference if 0 < circumference < np.inf else 0.0
    return table


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _read_head(path: Path, table: dict[str, tuple[float, float]]) -> Head:
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not named like 000_HC.png or 000_2HC.png")
    if path.name not in table:
        raise ValueError(f"{path.name} has no row in {TABLE}")
    annotation = path.with_name(path.stem + SUFFIX)
    if not annotation.is_file():
        raise ValueError(f"{path.name} has no annotation {annotation.name}")
    shape, outline = _read_png(path).shape, _read_png(annotation)
    if outline.shape != shape:
        raise ValueError(f"{annotation.name} has shape {outline.shape}, its image has {shape}")
    try:
        ellipse = fit_outline(outline >= 128)
    except ValueError as error:
        raise ValueError(f"{annotation.name} {error}") from error
    return Head(path, match["subject"], shape, ellipse, *table[path.name])


def _read_png(path: Path) -> UInt8[np.ndarray, "h w"]:
    """A PNG as 8-bit grey values. Raises ValueError, naming the file alone: several of them share one message."""
    data = path.read_bytes()
    if data and not data.startswith(PNG):
        raise ValueError(f"{path.name} is no PNG")
    try:
        return decode_grey(data)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from error
