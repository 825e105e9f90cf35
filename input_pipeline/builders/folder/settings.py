"""The user's settings of the folder: dataset.json and subjects.csv, both optional."""

import csv
import dataclasses
import io
import json
import math
import re
from pathlib import Path
from typing import Any

from fetal_jax.core.types import UserError

SETTINGS, SUBJECTS = "dataset.json", "subjects.csv"
DEFAULT_SUBJECT = r"([^_]*)"  # the name up to the first underscore
# Okabe and Ito (2008), distinguishable for the colour-blind.
PALETTE = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0), (204, 121, 167))


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of subjects.csv."""

    subject: str
    spacing_mm: tuple[float, float] | None


@dataclasses.dataclass(frozen=True)
class Settings:
    """The settings; empty or None where the user gave none."""

    classes: tuple[str, ...] = ()
    colours: tuple[tuple[int, int, int], ...] = ()
    subject: re.Pattern = re.compile(DEFAULT_SUBJECT)
    spacing_mm: tuple[float, float] | None = None
    rows: dict[str, Row] | None = None  # by the name of the file, with or without its suffix

    @property
    def subject_rule(self) -> str:
        """How a subject is told from a file, in words."""
        if self.rows is not None:
            return f"the column subject of {SUBJECTS}"
        if self.subject.pattern == DEFAULT_SUBJECT:
            return "the name up to the first underscore"
        return f"the group of {self.subject.pattern!r} in the name"


def read_settings(source: Path) -> Settings:
    """Reads both files. Raises UserError, naming the file and the key or line, if one of them is wrong."""
    settings = _read_json(source / SETTINGS) if (source / SETTINGS).is_file() else Settings()
    if not (source / SUBJECTS).is_file():
        return settings
    return dataclasses.replace(settings, rows=_read_rows(source / SUBJECTS))


def _read_json(path: Path) -> Settings:
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise UserError(f"{path}: is not a JSON file ({error}): correct it, or remove it") from error
    known = ("classes", "colours", "subject", "spacing_mm")
    if not isinstance(values, dict) or not set(values) <= set(known):
        raise UserError(f"{path}: expected an object with keys of {', '.join(known)}")
    readers = {"classes": _classes, "colours": _colours, "subject": _subject, "spacing_mm": _spacing}
    found: dict[str, Any] = {}
    for key, value in values.items():
        try:
            found[key] = readers[key](value)
        except (TypeError, ValueError, re.error) as error:
            raise UserError(f"{path}: {key} is wrong: {error}") from error
    if "colours" in found and len(found["colours"]) != len(found.get("classes", ())):
        raise UserError(f"{path}: colours must be as many as classes, the background's first")
    return Settings(**found)


def _classes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < 2 or not all(isinstance(name, str) and name for name in value):
        raise ValueError("expected two names or more, the background's first")
    if not all(name.isprintable() for name in value):
        raise ValueError("a name has a line break or another character that cannot be printed")
    if len(set(value)) < len(value) or len(value) > 255:
        raise ValueError("names must differ, and be 255 at most")
    return tuple(value)


def _colours(value: Any) -> tuple[tuple[int, int, int], ...]:
    colours = tuple(tuple(colour) for colour in value)
    if not all(len(colour) == 3 and all(type(v) is int and 0 <= v <= 255 for v in colour) for colour in colours):
        raise ValueError("expected [red, green, blue] from 0 to 255 for each class")
    if len(set(colours)) < len(colours):
        raise ValueError("two classes have the same colour")
    return colours


def _subject(value: Any) -> re.Pattern:
    pattern = re.compile(value)
    if pattern.groups != 1:
        raise ValueError(f"expected a regular expression with one group, found {pattern.groups}")
    return pattern


def _spacing(value: Any) -> tuple[float, float]:
    row, column = value if isinstance(value, list) else (value, value)
    if not all(0 < float(size) < math.inf for size in (row, column)):
        raise ValueError("expected mm above 0, as one number or [row, column]")
    return float(row), float(column)


def _read_rows(path: Path) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8, so names could be mixed up: save it as CSV UTF-8") from error
    with io.StringIO(text, newline="") as file:
        lines = csv.reader(file, delimiter=";" if ";" in text.partition("\n")[0] else ",")
        columns = [cell.strip() for cell in next(lines, [])]
        if not {"name", "subject"} <= set(columns):
            raise UserError(f"{path}: expected the columns name,subject and maybe spacing_mm, found {columns}")
        for cells in filter(None, lines):
            # " A" and "A" are one subject: as two they could lie in two splits
            line = dict(zip(columns, map(str.strip, cells), strict=False))
            where = f"{path}: line {lines.line_num}"
            name, subject, spacing = (line.get(key, "") for key in ("name", "subject", "spacing_mm"))
            if not name or not subject or name in rows:
                raise UserError(f"{where} has no name, no subject, or a name that occurs twice")
            if not (name + subject).isprintable():
                raise UserError(f"{where} has a line break or another character that cannot be printed: remove it")
            try:
                rows[name] = Row(subject, _spacing(spacing) if spacing else None)
            except ValueError as error:
                raise UserError(f"{where}: spacing_mm is wrong: {error}") from error
    return rows
