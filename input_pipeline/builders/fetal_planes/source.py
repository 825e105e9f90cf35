"""Reads and checks the published files of FETAL_PLANES_DB and the user's masks, before anything is written."""

import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from fetal_jax.core.types import UserError
from input_pipeline.builders import common
from input_pipeline.formats.raster import decode_grey

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


def read_source(source: str | Path, planes: tuple[str, ...]) -> common.SourceReport:
    """The images of these planes (as in the table, e.g. "Trans-cerebellum"), by name.

    Raises UserError if the folder does not have this layout, or has no image of these planes.
    """
    source = Path(source)
    _check_layout(source)
    problems: list[str] = []
    rows, bad = _read_table(source / TABLE, problems)
    files, bad_files = _pngs(source / FOLDER, problems)
    masks, bad_masks = _pngs(source / MASKS, problems)
    chosen = {name: row for name, row in rows.items() if row["Plane"] == BRAIN and row["Brain_plane"] in planes}
    problems += [f"{name}.png is in {TABLE} but not in {FOLDER}" for name in sorted(chosen.keys() - files - bad_files)]
    problems += [f"{name}.png has no row in {TABLE}" for name in sorted(files.keys() - rows - bad)]
    problems += [f"{MASKS}/{name}.png has no image" for name in sorted(masks.keys() - files - bad_files)]
    names = sorted((chosen.keys() & files) - bad_masks)
    found = [_plane(files[name], masks.get(name), chosen[name]) for name in names]
    good = []
    for plane in found:
        wrong = list(_problems_of(plane))
        problems += wrong
        good += [] if wrong else [plane]
    if not chosen:
        raise UserError(f"{source / TABLE}: has no image of {' or '.join(planes)}: prepare another plane")
    return common.SourceReport(good, problems, remedy=REMEDY)


def read_mask(path: Path) -> UInt8[np.ndarray, "h w"]:
    """Class ids of a mask of 0 and 255, or of 0 and 1. Raises ValueError if it has other values."""
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


def _read_table(path: Path, problems: list[str]) -> tuple[dict[str, dict[str, str]], set[str]]:
    """Rows by image name, and the images whose rows are wrong, each of which goes to `problems` once.

    The published headers have blanks at their ends.
    """
    rows: dict[str, dict[str, str]] = {}
    bad: set[str] = set()
    for number, row in _cells(path):
        name = _without_png(row.get("Image_name", "")) or f"row {number}"
        trouble = "has two rows" if name in rows else _trouble_of(row)
        if name in bad:
            continue
        if trouble:
            problems.append(f"{_one_line(name)} {trouble} in {path.name}")
            bad.add(name)
            rows.pop(name, None)
        else:
            rows[name] = row
    return rows, bad


def _cells(path: Path) -> list[tuple[int, dict[str, str]]]:
    """The rows below the header with their numbers, by column."""
    try:
        with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
            header, *rows = list(csv.reader(file, delimiter=";")) or [[]]
    except csv.Error as error:
        raise UserError(f"{path}: is not a CSV file ({error}): take the published one") from error
    header = [column.strip() for column in header]
    if not set(COLUMNS) <= set(header):
        found = _one_line(";".join(header))
        raise UserError(f"{path}: expected the columns {';'.join(COLUMNS)}, found {found}")
    return [
        (number, dict(zip(header, (value.strip() for value in row), strict=False)))
        for number, row in enumerate(rows, 2)
        if row
    ]


def _trouble_of(row: dict[str, str]) -> str:
    if any(not row.get(column) for column in COLUMNS):
        return "has an empty cell"
    if not (row["Image_name"] + row["Patient_num"]).isprintable():
        return "has a line break or control character"
    return ""


def _one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)


def _without_png(name: str) -> str:
    return name[:-4] if name.lower().endswith(".png") else name


def _pngs(folder: Path, problems: list[str]) -> tuple[dict[str, Path], set[str]]:
    """PNG files by their names without suffix, and the names that two files share, which are not among them.

    Other files go to `problems`, unless they are hidden.
    """
    found: dict[str, Path] = {}
    shared: set[str] = set()
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        where = f"{folder.name}/{path.name}"
        if path.name.startswith("."):
            continue
        if not path.name.isprintable():
            problems.append(f"{where!r} has a line break or control character in its name")
        elif path.suffix.lower() != ".png" or not path.is_file():
            problems.append(f"{where} is not a PNG file")
        elif path.stem in found:
            problems.append(f"{where} and {found[path.stem].name} have the same name")
            shared.add(path.stem)
        else:
            found[path.stem] = path
    return {name: path for name, path in found.items() if name not in shared}, shared


def _plane(path: Path, mask: Path | None, row: dict[str, str]) -> Plane:
    rest = (row[column] for column in ("Patient_num", "Brain_plane", "Operator", "US_Machine"))
    return Plane(path, mask, *rest)


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
