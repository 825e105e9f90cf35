"""Reads and checks the published files of HC18, all of them before anything is written."""

import csv
import dataclasses
import re
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fetal_jax.anatomy.ellipse import Ellipse, fit_outline
from fetal_jax.core.types import UserError
from input_pipeline.builders import common
from input_pipeline.formats.raster import PNG, decode_grey

COLUMNS = ("filename", "pixel size(mm)", "head circumference (mm)")
SUFFIX = "_Annotation.png"
FILE_NAME = re.compile(r"(?P<number>\d{3})_\d*HC\.png")


@dataclasses.dataclass(frozen=True)
class Part:
    """One of the two published sets."""

    folder: str
    table: str
    annotated: bool
    subject: str  # prefix of a subject's number: both sets count from 000


TRAINING = Part("training_set", "training_set_pixel_size_and_HC.csv", annotated=True, subject="")
OFFICIAL_TEST = Part("test_set", "test_set_pixel_size.csv", annotated=False, subject="test_")


@dataclasses.dataclass(frozen=True)
class Head:
    """One image."""

    path: Path
    subject: str
    shape: tuple[int, int]
    ellipse: Ellipse | None  # of the annotation, where there is one
    pixel_size_mm: float
    hc_mm: float  # as published; 0 is unknown

    @property
    def name(self) -> str:
        return self.path.stem


def read_source(source: str | Path, part: Part = TRAINING) -> common.SourceReport:
    """All heads of one part of a folder in the published layout, by name.

    Raises UserError if the folder does not have this layout.
    """
    source = Path(source)
    _check_layout(source, part)
    problems: list[str] = []
    table, bad = _read_table(source / part.table, problems)
    files = {path.name for path in (source / part.folder).glob("*.png") if not path.name.startswith(".")}
    images = {name for name in files if not (part.annotated and name.endswith(SUFFIX))}
    absent = sorted((table.keys() | bad) - images)
    problems += [f"{name} is in {part.table} but not in {part.folder}" for name in absent]
    for name in sorted(files - images):
        if name.replace(SUFFIX, ".png") not in images:
            problems.append(f"{name} has no image")
    heads = []
    for name in sorted(images - bad):
        try:
            heads.append(_read_head(source / part.folder / name, part, table))
        except ValueError as error:
            problems.append(str(error))
    return common.SourceReport(heads, problems, remedy="restore or remove these files and rows")


def _check_layout(source: Path, part: Part) -> None:
    expected = f"expected the folder that holds {part.folder}/ and {part.table}"
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; {expected}")
    if source.name == part.folder and not (source / part.folder).is_dir():
        raise UserError(f"{source}: {expected}, that is its parent: --source {source.parent}")
    if not (source / part.folder).is_dir():
        raise UserError(f"{source}: has no folder {part.folder}/; {expected}")
    if not (source / part.table).is_file():
        raise UserError(f"{source}: has no {part.table}; {expected}")
    if not any((source / part.folder).glob("*.png")):
        raise UserError(f"{source / part.folder}: holds no PNG files; unpack {part.folder}.zip of HC18 there")


def _read_table(path: Path, problems: list[str]) -> tuple[dict[str, tuple[float, float]], set[str]]:
    """Pixel size and circumference in mm by file name, and the files whose rows are wrong, which go to `problems`."""
    table: dict[str, tuple[float, float]] = {}
    bad = set()
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file)
        if not set(COLUMNS[:2]) <= set(rows.fieldnames or ()):
            raise UserError(f"{path}: expected the columns {', '.join(COLUMNS)}, found {rows.fieldnames}")
        for row in rows:
            name, pixel_size = row[COLUMNS[0]], _number(row[COLUMNS[1]])
            if name in table:
                problems.append(f"{name} has two rows in {path.name}")
                bad.add(name)
            if not 0 < pixel_size < np.inf:
                problems.append(f"{name} has pixel size {row[COLUMNS[1]]!r} in {path.name}")
                bad.add(name)
            circumference = _number(row.get(COLUMNS[2]))
            table[name] = pixel_size, circumference if 0 < circumference < np.inf else 0.0
    return table, bad


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return float("nan")


def _read_head(path: Path, part: Part, table: dict[str, tuple[float, float]]) -> Head:
    match = FILE_NAME.fullmatch(path.name)
    if match is None:
        raise ValueError(f"{path.name} is not named like 000_HC.png or 000_2HC.png")
    if path.name not in table:
        raise ValueError(f"{path.name} has no row in {part.table}")
    shape = _read_png(path).shape
    ellipse = _read_annotation(path, shape) if part.annotated else None
    return Head(path, part.subject + match["number"], shape, ellipse, *table[path.name])


def _read_annotation(image: Path, shape: tuple[int, int]) -> Ellipse:
    annotation = image.with_name(image.stem + SUFFIX)
    if not annotation.is_file():
        raise ValueError(f"{image.name} has no annotation {annotation.name}")
    outline = _read_png(annotation)
    if outline.shape != shape:
        raise ValueError(f"{annotation.name} has shape {outline.shape}, its image has {shape}")
    try:
        return fit_outline(outline >= 128)
    except ValueError as error:
        raise ValueError(f"{annotation.name} {error}") from error


def _read_png(path: Path) -> UInt8[np.ndarray, "h w"]:
    """A PNG as 8-bit grey values. Raises ValueError that names the file without its folder."""
    data = path.read_bytes()
    if data and not data.startswith(PNG):
        raise ValueError(f"{path.name} is not a PNG file")
    try:
        return decode_grey(data)
    except ValueError as error:
        raise ValueError(f"{path.name} {error}") from error
