"""Reads the test scores of runs, and refuses runs that cannot be compared."""

import csv
import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fetal_jax.core import config as configs
from fetal_jax.core.json_files import read_json
from fetal_jax.core.types import UserError
from input_pipeline.splits import Splits

KEYS = ("name", "subject", "class")
AGAIN = "run fetal-jax evaluate on it again"
N_NAMED = 3  # images in a message
UNKNOWN = "–"  # what an older summary.json does not say


@dataclasses.dataclass(frozen=True)
class Run:
    """One metric of the test images of a run, in sorted order. NaN is undefined."""

    label: str
    config: dict[str, Any]
    dataset: str
    model: str
    stage: str  # the last one that has scores
    splits: Splits
    names: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]  # foreground
    values: np.ndarray  # [images classes]
    dice: np.ndarray  # [images classes]; NaN where a class is absent from reference and prediction

    @property
    def seed(self) -> str:
        return str(({"seed": UNKNOWN} | self.config)["seed"])

    def of(self, classes: Sequence[str]) -> np.ndarray:
        """The values of these classes, [images classes]."""
        return self.values[:, self._columns(classes)]

    def dice_of(self, classes: Sequence[str]) -> np.ndarray:
        """The Dice of these classes, [images classes]."""
        return self.dice[:, self._columns(classes)]

    def _columns(self, classes: Sequence[str]) -> list[int]:
        return [self.classes.index(name) for name in classes]


def read_runs(workdirs: Sequence[Path], metric: str) -> list[Run]:
    """The runs, all of one dataset and of the same test images. Raises UserError, in one line, if they are not."""
    if len(workdirs) < 2:
        raise UserError("compare needs at least two runs: give their workdirs")
    places = [workdir.resolve() for workdir in workdirs]
    for i, workdir in enumerate(workdirs):
        if places[i] in places[:i]:
            raise UserError(f"{workdir} is given twice: a run cannot be compared with itself")
    labels = [place.name for place in places]
    if len(set(labels)) < len(labels):
        labels = [str(workdir) for workdir in workdirs]
    runs = [_read(workdir, label, metric) for workdir, label in zip(workdirs, labels, strict=True)]
    for run in runs[1:]:
        _check_same_images(runs[0], run)
    return runs


def _read(workdir: Path, label: str, metric: str) -> Run:
    config = _json_of(lambda: configs.read(workdir), workdir / "config.json")
    table, summary = workdir / "per_image.csv", workdir / "summary.json"
    for path in (table, summary):
        if not path.is_file():
            raise UserError(f"{workdir} has no {path.name}: run fetal-jax evaluate with this --workdir first")
    names, subjects, classes, values = read_table(table, metric)
    splits = Splits.load(workdir / "splits.json")
    if set(names) != set(splits.parts["test"]):
        raise UserError(f"{table} is not of the test images in splits.json: {AGAIN}")
    unknown = {"dataset": splits.dataset, "model": UNKNOWN, "final_stage": UNKNOWN}
    facts = unknown | read_json(summary, format=1, what="a summary of a run", remedy=AGAIN)
    dice = values if metric == "dice" else read_table(table, "dice")[3]
    return Run(
        label=label,
        config=config,
        dataset=str(facts["dataset"]),
        model=str(facts["model"]),
        stage=str(facts["final_stage"]),
        splits=splits,
        names=names,
        subjects=subjects,
        classes=classes,
        values=values,
        dice=dice,
    )


def _json_of(read, path: Path) -> dict[str, Any]:
    try:
        value = read()
    except (json.JSONDecodeError, UnicodeDecodeError):
        value = None
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged (no JSON object): {AGAIN}, or restore the file")
    return value


def read_table(path: Path, metric: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], np.ndarray]:
    """Names, subjects, classes and one metric [images classes] of a `per_image.csv`, images in sorted order.

    Raises UserError if the metric is not a column, or if the table is not complete: one row per image and class,
    every cell a number or empty, one subject per image.
    """
    rows, numbers = _rows(path, metric), {}
    subject_of: dict[str, str] = {}
    for line, name, subject, label, cell in rows:
        if (name, label) in numbers:
            raise UserError(f"{path} is damaged (line {line}: {label} of {name} a second time): {AGAIN}")
        if subject_of.setdefault(name, subject) != subject:
            raise UserError(f"{path} is damaged (line {line}: {name} has two subjects): {AGAIN}")
        numbers[name, label] = _number(cell, f"{path} is damaged (line {line}: {metric}")
    names, classes = sorted(subject_of), tuple(dict.fromkeys(label for _, label in numbers))
    if len(numbers) < len(names) * len(classes):
        lost = next(f"{label} of {name}" for name in names for label in classes if (name, label) not in numbers)
        raise UserError(f"{path} is damaged (no row for {lost}): {AGAIN}")
    values = np.array([[numbers[name, label] for label in classes] for name in names])
    return tuple(names), tuple(subject_of[name] for name in names), classes, values


def _rows(path: Path, metric: str) -> list[tuple[int, str, str, str, str]]:
    """Line, name, subject, class and the metric's cell of each row."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *rows = list(csv.reader(file, strict=True)) or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"{path} is damaged ({error}): {AGAIN}") from None
    if tuple(header[:3]) != KEYS or not rows:
        raise UserError(f"{path} is damaged (no rows below name, subject, class): {AGAIN}")
    if metric not in header[3:]:
        raise UserError(f"metric {metric!r} is not in {path}: choose from {', '.join(header[3:])}")
    for line, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise UserError(f"{path} is damaged (line {line}: {len(row)} cells of {len(header)}): {AGAIN}")
    column = header.index(metric, 3)
    return [(line, row[0], row[1], row[2], row[column]) for line, row in enumerate(rows, 2)]


def _number(cell: str, place: str) -> float:
    if cell == "":
        return math.nan
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{place} is {cell!r}, not a number): {AGAIN}")
    return number


def _check_same_images(one: Run, other: Run) -> None:
    if one.dataset != other.dataset:
        raise UserError(
            f"{one.label} was tested on {one.dataset} and {other.label} on {other.dataset}: compare runs of one dataset"
        )
    here, there = set(one.names), set(other.names)
    if here != there:
        only = [_listed(names, run.label) for names, run in ((here - there, one), (there - here, other)) if names]
        raise UserError(f"the runs have other test images: {'; '.join(only)}: compare runs of one split")
    for name, mine, theirs in zip(one.names, one.subjects, other.subjects, strict=True):
        if mine != theirs:
            raise UserError(
                f"{name} is of subject {mine} in {one.label} and {theirs} in {other.label}: compare runs of one dataset"
            )


def _listed(names: set[str], label: str) -> str:
    more = ", ..." if len(names) > N_NAMED else ""
    return f"{len(names)} only in {label} ({', '.join(sorted(names)[:N_NAMED])}{more})"
