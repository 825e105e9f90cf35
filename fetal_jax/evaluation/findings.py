"""What an assessed test set says beyond its scores: gain, sizes in mm, doubt, anomalies. JSON data for the report."""

import math
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from fetal_jax.anomaly.features import Structure
from fetal_jax.biometry.agreement import bland_altman, compare_heads, mean_and_sd
from fetal_jax.biometry.conformal import Calibration, calibrate
from fetal_jax.evaluation.evaluator import Anatomy, Assessment
from fetal_jax.evaluation.payload import plain
from fetal_jax.evaluation.scores import Scored
from fetal_jax.evaluation.uncertainty import abstention
from fetal_jax.inference.tables import Row, write_table
from fetal_jax.metrics.aggregate import mean_of_defined
from fetal_jax.statistics.bootstrap import subject_means
from fetal_jax.statistics.paired import paired
from fetal_jax.statistics.power import smallest_gain

# Sizes that the report tells of: titles and units.
SIZES = {
    "hc_mm": ("Head circumference", "mm"),
    "bpd_mm": ("Biparietal diameter", "mm"),
    "ofd_mm": ("Occipitofrontal diameter", "mm"),
    "head_area_mm2": ("Head area", "mm²"),
    "tcd_mm": ("Transcerebellar diameter", "mm"),
    "lv_mm": ("Lateral ventricle, width", "mm"),
    "csp_mm": ("Cavum septi pellucidi, width", "mm"),
    "csp_length_mm": ("Cavum septi pellucidi, length", "mm"),
}
NO_SPACING = "The size of a pixel is not known: distances are in pixels only, and nothing is measured in mm."
BOX = ("first_row", "first_column", "end_row", "end_column")  # of the bounding box; the ends are outside


def gain(before: Scored, after: Scored) -> dict[str, Any]:
    """A paired test of two stages' Dice on the same test images, by subject."""
    test = paired(before.dice(), after.dice(), before.subjects)
    keys = ("n", "n_dropped", "difference", "low", "high", "wilcoxon_p", "permutation_p", "effect")
    told = {key: getattr(test, key) for key in keys}
    told["smallest_gain"] = smallest_gain(test.sd, test.n)
    return plain(told | {"verdict": test.verdict(names=("the stage before", "the last stage"))})


def doubt(assessment: Assessment) -> dict[str, Any] | None:
    """How well the network's own probabilities tell which images it fails on: risk is 1 - Dice.

    Of an image in which nothing is found no Dice above 0 is expected: a structure that is missed altogether is a risk.
    """
    expected = np.nan_to_num(mean_of_defined(assessment.expected_dice, axis=1), nan=0.0)
    shown = assessment.cleaned or assessment.scored
    risk = 1 - shown.dice()
    known = ~np.isnan(risk)
    if known.sum() < 2:
        return None
    curve = abstention(expected, risk)
    spread = np.ptp(expected[known]) > 0 and np.ptp(risk[known]) > 0
    correlation = stats.spearmanr(expected[known], 1 - risk[known]).statistic if spread else math.nan
    keys = ("coverage", "risk", "area", "random", "ideal", "gain", "n_undefined")
    return plain({key: getattr(curve, key) for key in keys} | {"correlation": float(correlation)})


def calibrations(validation: Assessment) -> dict[str, Calibration]:
    """How far off each size is on the validation images, nine times of ten: split-conformal, by subject."""
    return {
        key: calibrate(
            _column(validation.predicted, key) - _column(validation.reference, key), 0.9, validation.scored.subjects
        )
        for key in _measured(validation)
    }


def _measured(assessment: Assessment) -> list[str]:
    """The sizes that any reference has."""
    return [key for key in SIZES if not np.isnan(_column(assessment.reference, key)).all()]


def _column(rows: Sequence[Anatomy], key: str) -> np.ndarray:
    return np.array([row.sizes.get(key, math.nan) for row in rows], float)


def biometry(test: Assessment, calibration: Mapping[str, Calibration]) -> dict[str, Any]:
    """Agreement of the sizes of predictions and references, by subject, and whether the intervals hold."""
    subjects, measures = test.scored.subjects, {}
    for key in _measured(test):
        predicted, reference = _column(test.predicted, key), _column(test.reference, key)
        pairs = np.stack([predicted, reference], 1)
        pairs[np.isnan(pairs).any(1)] = np.nan  # else the two means of a subject would be of different images
        _, means = subject_means(pairs, subjects)
        agreement = bland_altman(means[:, 0], means[:, 1])
        title, unit = SIZES[key]
        measures[key] = {
            "title": title,
            "unit": unit,
            "n": agreement.n,
            "n_missing": int((np.isnan(predicted) & ~np.isnan(reference)).sum()),
            "bias": agreement.bias,
            "sd": agreement.sd,
            "low": agreement.lower,
            "high": agreement.upper,
            "mad": float(np.abs(agreement.differences).mean()) if agreement.n else math.nan,
            "reference": (agreement.means - agreement.differences / 2),
            "difference": agreement.differences,
            **_coverage(calibration.get(key), predicted - reference, subjects),
        }
    note = "Differences are predicted minus reference, a point a subject."
    return plain({"measures": measures, "heads": _heads(test), "note": note})


def _heads(test: Assessment) -> dict[str, Any]:
    """DF, ADF, Dice and Hausdorff distance of the fitted heads, as HC18's challenge scores them: mean, SD, images."""
    pairs = zip(test.predicted, test.reference, strict=True)
    return mean_and_sd([compare_heads(predicted.head_mm, reference.head_mm) for predicted, reference in pairs])


def _coverage(calibration: Calibration | None, errors: np.ndarray, subjects: Sequence[str]) -> dict[str, Any]:
    """The half-width of the interval, and the share of test subjects whose images all lie inside."""
    if calibration is None:
        return {"half_width": None, "n_calibration": 0, "coverage": None}
    known = ~np.isnan(errors)
    worst: dict[str, float] = {}
    for subject, error in zip(np.asarray(subjects)[known], np.abs(errors[known]), strict=True):
        worst[subject] = max(error, worst.get(subject, 0.0))
    inside = [error <= calibration.half_width for error in worst.values()]
    coverage = float(np.mean(inside)) if inside and math.isfinite(calibration.half_width) else None
    return {"half_width": calibration.half_width, "n_calibration": calibration.n, "coverage": coverage}


def write_tables(folder: pathlib.Path, test: Assessment) -> None:
    """Writes `features.csv`, a row an image and structure, and `biometry.csv`, a row an image; of images only."""
    images = range(len(test.about))
    if any(anatomy.structures for anatomy in test.predicted):
        write_table(folder / "features.csv", [row for i in images for row in _feature_rows(test, i)])
        write_table(folder / "biometry.csv", [_size_row(test, i) for i in images])


def _feature_rows(test: Assessment, i: int) -> list[Row]:
    """As in the trans-thalamic thesis, Table 4.4, with the mismatch to the reference (its Eq. 3.10) beside."""
    scored = test.cleaned or test.scored
    wrong = scored.counts.fp[i] + scored.counts.fn[i]
    size = scored.counts.tp[i] + scored.counts.fn[i]
    mismatch = dict(zip(scored.classes, np.where(size > 0, wrong / np.maximum(size, 1), np.nan), strict=True))
    rows = []
    for structure in test.predicted[i].structures:
        row = {"name": scored.names[i], "subject": scored.subjects[i], "structure": structure.name}
        rows.append(row | _cells(structure) | {"mismatch": cell(mismatch.get(structure.name, math.nan))})
    return rows


def _cells(structure: Structure) -> Row:
    """The table of the thesis: area, bounding box, centroid, eccentricity, and what else tells shapes apart."""
    numbers = {key: cell(getattr(structure, key)) for key in ("area_mm2", "eccentricity", "solidity", "parts")}
    box = dict(zip(BOX, structure.box or ("",) * len(BOX), strict=True))
    row, column = map(cell, structure.centroid)
    angle = {"orientation_deg": cell(math.degrees(structure.orientation))}
    return {"area_px": structure.area_px, **box, "centroid_row": row, "centroid_column": column, **numbers, **angle}


def _size_row(test: Assessment, i: int) -> Row:
    row: Row = {"name": test.scored.names[i], "subject": test.scored.subjects[i]}
    for key, size in test.predicted[i].sizes.items():
        row |= {key: cell(size), f"{key}_of_reference": cell(test.reference[i].sizes[key])}
    return row


def cell(value: float) -> str:
    """A number of a table; empty where it is undefined."""
    return "" if math.isnan(value) else f"{value:.6g}"
