"""Reads the tables of a BIDS folder: ages of participants and sessions, and the classes of segmentations.

Conventions: BIDS 1.10, "Participants file", "Sessions file" and "Discrete segmentations"; ages in months as NiBabies
reads them, `scan_age` in weeks as dHCP writes it.
"""

import csv
import json
import math
import re
from pathlib import Path

from fetal_jax.core.types import UserError
from input_pipeline.builders.folder.settings import PALETTE
from input_pipeline.builders.infant_mri.scan import Age, Classes

# Columns of an age, of which the first is used: its unit here, and the factor from the column's unit to that one.
AGES = {
    "age_months": ("months", 1.0),
    "age_weeks": ("weeks", 1.0),
    "age_days": ("months", 12 / 365.25),
    "age_years": ("months", 12.0),
    "scan_age": ("weeks", 1.0),
}
OLDEST_YEARS = 6.0  # of an `age` that does not say its unit
MAX_CLASSES = 255
# Values of a segmentation without a table: "Common image-derived labels" of BIDS.
DEFAULT_CLASSES = Classes.numbered(
    ("background", "gm", "wm", "csf"), ((0, 0, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0))
)


def read_tsv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return [{key.strip(): (value or "").strip() for key, value in row.items() if key} for row in rows]


def age_of(path: Path, participant: str, session: str) -> Age | None:
    """The age in a participants.tsv or sessions.tsv, or None if it has no such row, column or number.

    Raises ValueError that names the file if the age has no unit and cannot be an infant's in years.
    """
    for row in read_tsv(path) if path.is_file() else ():
        of_participant = row.get("participant_id", participant) in (participant, participant.removeprefix("sub-"))
        of_session = row.get("session_id", row.get("session", session)).removeprefix("ses-") == session
        if of_participant and of_session:
            return _age(row, path)
    return None


def _age(row: dict[str, str], path: Path) -> Age | None:
    columns = {**AGES, "age": _unit_of_age(path)}
    for column, (unit, factor) in columns.items():
        value = _number(row.get(column))
        if value is None:
            continue
        if unit == "unknown":
            if value > OLDEST_YEARS:
                raise ValueError(f"age {value:g} in {path.name} has no unit: call the column age_months or age_weeks")
            unit, factor = "months", 12.0
        age = value * factor
        return Age(age, unit, f"{round(age)}{unit[0]}")
    return None


def _unit_of_age(path: Path) -> tuple[str, float]:
    """The unit of the column `age`, by the JSON file beside the table; by BIDS it is years where none is given."""
    try:
        described = json.loads(path.with_suffix(".json").read_text(encoding="utf-8-sig"))
        unit = str(described["age"]["Units"]).lower()
    except (OSError, ValueError, KeyError, TypeError):
        return "unknown", 1.0
    return AGES.get(f"age_{unit.removesuffix('s')}s", ("unknown", 1.0))


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "nan")
    except ValueError:  # n/a
        return None
    return value if 0 <= value < math.inf else None


def read_classes(path: Path) -> Classes:
    """The classes of a dseg.tsv: its indices in rising order become the ids 1, 2, ...; index 0 is the background.

    Raises UserError that names the file if it is not such a table.
    """
    rows = read_tsv(path)
    try:
        found = sorted((int(row["index"]), row["name"], row.get("color", "")) for row in rows)
    except (KeyError, ValueError) as error:
        raise UserError(f"{path}: expected the columns index (a whole number) and name") from error
    found = [(0, "background", "#000000"), *((i, name, colour) for i, name, colour in found if i != 0)]
    indices, names, colours = zip(*found, strict=True)
    if len(set(indices)) < len(found) or len(set(names)) < len(found) or not 2 <= len(found) <= MAX_CLASSES:
        raise UserError(f"{path}: expected 1 to {MAX_CLASSES - 1} classes whose indices and names differ")
    if not all(name and name.isprintable() for name in names) or min(indices) < 0:
        raise UserError(f"{path}: a class has no name that can be printed, or an index below 0")
    shown = tuple(_rgb(colour) or PALETTE[(i - 1) % len(PALETTE)] for i, colour in enumerate(colours))
    return Classes(names, shown, {index: i for i, index in enumerate(indices)})


def _rgb(colour: str) -> tuple[int, int, int] | None:
    if not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour.strip()):
        return None
    red, green, blue = bytes.fromhex(colour.strip()[1:])
    return red, green, blue
