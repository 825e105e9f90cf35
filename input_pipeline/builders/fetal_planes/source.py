"""The published files of FETAL_PLANES_DB and the user's masks, checked as a whole before anything is written."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fetal_jax.types import UserError
from input_pipeline.builders import common
from input_pipeline.images import decode_grey

TABLE = "FETAL_PLANES_DB_data.csv"
FOLDER = "Images"
MASKS = "masks"
COLUMNS = ("Image_name", "Patient_num", "Plane", "Brain_plane", "Operator", "US_Machine")
BRAIN = "Fetal brain"
REMEDY = "restore or remove these files and rows"


@dataclasses.dataclass(frozen=True)
class Plane:
    """One image of a plane of the brain."""

    path: Path
    mask: Path | None  # of the user, if there is one
    patient: str
    plane: str
    operator: str
    machine: str

    @property
    def name(self) -> str:
        return self.path.stem


def read_source(source: str | Path, planes: tuple[str, ...]) -> common.Reading:
    """The images of these planes (as in the table, e.g. "Trans-cerebellum"), by name.

    Raises UserError if it is no such folder, or has no image of these planes.
    """
    source = Path(source)
    _check_layout(source)
    problems: list[str] = []
    rows = _read_table(source / TABLE, problems)
    files, masks = _png_names(source / FOLDER), _png_names(source / MASKS)
    chosen = {name: row for name, row in rows.items() if row["Plane"] == BRAIN and row["Brain_plane"] in planes}
    problems += [f"{name}.png is in {TABLE} but not in {FOLDER}" for name in sorted(chosen.keys() - files)]
    problems += [f"{name}.png has no row in {TABLE}" for name in sorted(files - rows.keys())]
    problems += [f"{MASKS}/{name}.png has no image" for name in sorted(masks - files)]
    found = [_plane(source, chosen[name], name in masks) for name in sorted(chosen.keys() & files)]
    good = []
    for plane in found:
        wrong = list(_problems_of(plane))
        problems += wrong
        good += [] if wrong else [plane]
    if not chosen:
        raise UserError(f"{source / TABLE}: has no image of {' or '.join(planes)}: prepare another plane")
    return common.Reading(good, problems, remedy=REMEDY)


def read_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Class ids of a mask of 0 and 255, or of 0 and 1. Raises ValueError, in words, if it has other values."""
    mask = decode_grey(path.read_bytes())
    others = np.setdiff1d(mask, (0, 1, 255))
    if others.size or {1, 255} <= set(np.unique(mask)):
        found = others[0] if others.size else "both 1 and 255"
        raise ValueError(f"has the value {found}, where 0 is background and 255 (or 1) cerebellum")
    return (mask > 0).astype(np.uint8)


def _check_layout(source: Path) -> None:
    expected = f"expected the folder that holds {TABLE} and {FOLDER}/"
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; {expected}")
    if not (source / TABLE).is_file():
        raise UserError(f"{source}: has no {TABLE}; {expected}")
    if not (source / FOLDER).is_dir():
        raise UserError(f"{source}: has no folder {FOLDER}/; {expected}")


def _read_table(path: Path, problems: list[str]) -> dict[str, dict[str, str]]:
    """Rows by image name. The published headers have blanks at their ends."""
    rows: dict[str, dict[str, str]] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        header, *lines = list(csv.reader(file, delimiter=";")) or [[]]
    header = [column.strip() for column in header]
    if not set(COLUMNS) <= set(header):
        raise UserError(f"{path}: expected the columns {';'.join(COLUMNS)}, found {';'.join(header)}")
    for line in filter(None, lines):
        row = dict(zip(header, (value.strip() for value in line), strict=False))
        name = row["Image_name"].removesuffix(".png")
        if any(not row.get(column) for column in COLUMNS):
            problems.append(f"{name} has an empty cell in {TABLE}")
        elif name in rows:
            problems.append(f"{name} has two rows in {TABLE}")
        else:
            rows[name] = row
    return rows


def _png_names(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.png") if not path.name.startswith(".")}


def _plane(source: Path, row: dict[str, str], has_mask: bool) -> Plane:
    file = row["Image_name"].removesuffix(".png") + ".png"
    mask = source / MASKS / file if has_mask else None
    rest = (row[column] for column in ("Patient_num", "Brain_plane", "Operator", "US_Machine"))
    return Plane(source / FOLDER / file, mask, *rest)


def _problems_of(plane: Plane) -> Iterator[str]:
    try:
        shape = decode_grey(plane.path.read_bytes()).shape
    except ValueError as error:
        yield f"{plane.path.name} {error}"
        return
    if plane.mask is not None:
        try:
            mask = read_mask(plane.mask)
        except ValueError as error:
            yield f"{MASKS}/{plane.mask.name} {error}"
            return
        if mask.shape != shape:
            yield f"{MASKS}/{plane.mask.name} has shape {mask.shape}, its image has {shape}"
