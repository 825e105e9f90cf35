"""The result of reading any layout: scans of subjects at an age, and the classes of their labels."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from fetal_jax.core.types import UserError
from input_pipeline.formats import SUFFIXES

MODALITIES = ("T1w", "T2w")

_MONTHS = re.compile(r"(\d+(?:\.\d+)?)[ _-]?(?:m|mo|mos|months?)", re.IGNORECASE)
_WEEKS = re.compile(r"(\d+(?:\.\d+)?)[ _-]?(?:w|wk|wks|weeks?)", re.IGNORECASE)
_GESTATION = re.compile(r"GA[ _-]?(\d+(?:\.\d+)?)(?:w|wk|wks|weeks?)?", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Age:
    """The age of a subject, and the age group of the scan."""

    value: float
    unit: str  # "months", or "weeks"
    group: str  # e.g. "24m", or "GA21" for weeks of gestation


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of the values in label files."""

    names: tuple[str, ...]  # by class id, the background first
    colours: tuple[tuple[int, int, int], ...]
    id_of: Mapping[int, int]  # class id by value; a value that is not listed is an error

    @classmethod
    def numbered(cls, names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> "Classes":
        """Values are the class ids themselves."""
        return cls(tuple(names), tuple(colours), {i: i for i in range(len(names))})


@dataclasses.dataclass(frozen=True)
class Scan:
    """The files of one subject at one age."""

    name: str
    subject: str
    age: Age
    images: Mapping[str, Path]  # by modality
    labels: Path | None

    @property
    def folder(self) -> Path:
        """The folder of its files, or of the first of them."""
        return next(path.parent for path in (*self.images.values(), self.labels) if path)


@dataclasses.dataclass
class Layout:
    """A folder whose layout was recognised; no volume is read yet."""

    scans: list[Scan]
    classes: Classes
    subject_rule: str
    problems: list[str]
    notes: list[str] = dataclasses.field(default_factory=list)
    licence: str = "yours"
    citation: str = ""


def age_by_name(text: str) -> Age | None:
    """The age in a name such as 24m, 24mo, 6 months, 38wk or GA21, or None."""
    for pattern, unit, group in ((_MONTHS, "months", "{}m"), (_WEEKS, "weeks", "{}w"), (_GESTATION, "weeks", "GA{}")):
        match = pattern.fullmatch(text)
        if match:
            return Age(float(match[1]), unit, group.format(f"{float(match[1]):g}"))
    return None


def volumes_in(folder: Path) -> list[Path]:
    """The NIfTI files of a folder, by name; none if it does not exist. Hidden ones are ignored."""
    if not folder.is_dir():
        return []
    return [path for path in _listed(folder) if path.name.endswith(SUFFIXES["NIfTI"])]


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, by name; none if it does not exist. Hidden ones are ignored."""
    if not folder.is_dir():
        return []
    return [path for path in _listed(folder) if path.is_dir()]


def _listed(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in found:
        if not path.name.isprintable():
            raise UserError(f"{folder}: {path.name!r} has a character that cannot be printed: rename it")
    return found
