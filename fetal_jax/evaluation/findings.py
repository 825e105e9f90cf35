"""What evaluated test images say beyond their scores: pixels, gain, uncertainty, biometry, and tables of shapes."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from fetal_jax.anomaly.features import Structure
from fetal_jax.biometry.agreement import bland_altman, compare_heads, mean_and_sd
from fetal_jax.biometry.conformal import Calibration, calibrate
from fetal_jax.evaluation.evaluator import Anatomy, EvaluatedRecords
from fetal_jax.evaluation.results import (
    BiometryResult,
    CalibrationResult,
    ClassCurves,
    ConfusionResult,
    GainResult,
    MeanSdN,
    MeasureResult,
    OverallResult,
    PixelCurve,
    PixelResult,
    ReliabilityBin,
    UncertaintyResult,
)
from fetal_jax.evaluation.scores import Scored
from fetal_jax.evaluation.uncertainty import risk_coverage
from fetal_jax.inference.outputs import Row, write_table
from fetal_jax.metrics import curves
from fetal_jax.metrics.aggregate import mean_of_defined
from fetal_jax.metrics.pixel_histogram import PixelHistogram
from fetal_jax.metrics.registry import overall
from fetal_jax.statistics.bootstrap import subject_means
from fetal_jax.statistics.paired import paired
from fetal_jax.statistics.power import smallest_gain

# Sizes of the report: titles and units.
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
LEVEL = 0.9  # of the intervals of sizes
BIOMETRY_NOTE = "Differences are predicted minus reference, one point per subject."
BOX = ("first_row", "first_column", "end_row", "end_column")  # of the bounding box; the ends are outside


def overall_result(test: EvaluatedRecords) -> OverallResult:
    """All pixels of all images as one confusion matrix."""
    found = overall(test.tally.confusion, ("background", *test.scored.classes))
    return OverallResult(
        pixel_accuracy=found["pixel_accuracy"],
        mean_iou=found["mean_iou"],
        mean_iou_foreground=found["mean_iou_foreground"],
        foreground_iou=found["foreground_iou"],
        frequency_weighted_iou=found["frequency_weighted_iou"],
        macro=found["macro"],
        micro=found["micro"],
        classes=found["classes"],
        n_defined=found["n_defined"],
    )


def pixel_result(test: EvaluatedRecords) -> PixelResult:
    """Curves, confusion and calibration over all pixels of all images."""
    tally, classes = test.tally, test.scored.classes
    confusion = tuple(map(tuple, tally.confusion.tolist()))
    return PixelResult(
        n_images=len(test.scored.names),
        curves=_curves(tally, classes),
        confusion=ConfusionResult(("background", *classes), confusion),
        calibration=_calibration(tally),
    )


def _curves(tally: PixelHistogram, classes: Sequence[str]) -> dict[str, ClassCurves]:
    roc = [_curve(*pair) for pair in zip(curves.roc(tally), curves.auc_roc(tally), strict=True)]
    pr = [_curve(*pair) for pair in zip(curves.precision_recall(tally), curves.auc_pr(tally), strict=True)]
    return {name: ClassCurves(*pair) for name, pair in zip(classes, zip(roc, pr, strict=True), strict=True)}


def _curve(line: curves.Curve, area: np.floating | float) -> PixelCurve:
    return PixelCurve(tuple(line.x.tolist()), tuple(line.y.tolist()), float(area))


def _calibration(tally: PixelHistogram) -> CalibrationResult:
    bins = curves.reliability(tally)
    rows = zip(bins.confidence.tolist(), bins.accuracy.tolist(), bins.share.tolist(), strict=True)
    return CalibrationResult(curves.ece(tally), curves.brier(tally), tuple(ReliabilityBin(*row) for row in rows))


def gain_result(stages: Mapping[str, Scored], before: str, after: str) -> GainResult:
    """A paired test of two stages' Dice on the same test images, by subject."""
    first, last = stages[before], stages[after]
    test = paired(first.dice(), last.dice(), first.subjects)
    return GainResult(
        before=before,
        after=after,
        n=test.n,
        n_dropped=test.n_dropped,
        difference=test.difference,
        low=test.low,
        high=test.high,
        wilcoxon_p=test.wilcoxon_p,
        permutation_p=test.permutation_p,
        effect=test.effect,
        smallest_gain=smallest_gain(test.sd, test.n),
        verdict=test.verdict(names=("the stage before", "the last stage")),
    )


def uncertainty_result(test: EvaluatedRecords) -> UncertaintyResult | None:
    """How well the network's own probabilities tell which images it fails on; None for fewer than two images.

    Risk is 1 - Dice. Of an image in which nothing is found no Dice above 0 is expected: a structure that is missed
    altogether is a risk.
    """
    expected = np.nan_to_num(mean_of_defined(test.expected_dice, axis=1), nan=0.0)
    shown = test.cleaned or test.scored
    risk = 1 - shown.dice()
    known = ~np.isnan(risk)
    if known.sum() < 2:
        return None
    spread = np.ptp(expected[known]) > 0 and np.ptp(risk[known]) > 0
    correlation = stats.spearmanr(expected[known], 1 - risk[known]).statistic if spread else math.nan
    return UncertaintyResult(risk_coverage(expected, risk), float(correlation))


def size_calibrations(validation: EvaluatedRecords) -> dict[str, Calibration]:
    """The half-width of each size's 90 % interval, from the validation images: split-conformal, by subject."""
    return {
        key: calibrate(
            _column(validation.predicted, key) - _column(validation.reference, key), LEVEL, validation.scored.subjects
        )
        for key in _measured(validation)
    }


def _measured(records: EvaluatedRecords) -> list[str]:
    """The sizes that any reference has."""
    return [key for key in SIZES if not np.isnan(_column(records.reference, key)).all()]


def _column(rows: Sequence[Anatomy], key: str) -> np.ndarray:
    return np.array([({key: math.nan} | row.sizes)[key] for row in rows], float)


def biometry_result(test: EvaluatedRecords, calibration: Mapping[str, Calibration]) -> BiometryResult:
    """Agreement of the sizes of predictions and references, by subject, and whether the intervals hold."""
    known = dict.fromkeys(SIZES) | dict(calibration)
    measures = {key: _measure(test, key, known[key]) for key in _measured(test)}
    pairs = zip(test.predicted, test.reference, strict=True)
    heads = mean_and_sd([compare_heads(predicted.head_mm, reference.head_mm) for predicted, reference in pairs])
    return BiometryResult(measures, {key: MeanSdN(*row) for key, row in heads.items()}, BIOMETRY_NOTE)


def _measure(test: EvaluatedRecords, key: str, calibration: Calibration | None) -> MeasureResult:
    subjects = test.scored.subjects
    predicted, reference = _column(test.predicted, key), _column(test.reference, key)
    pairs = np.stack([predicted, reference], 1)
    pairs[np.isnan(pairs).any(1)] = np.nan  # else the two means of a subject would be of different images
    _, means = subject_means(pairs, subjects)
    agreement = bland_altman(means[:, 0], means[:, 1])
    title, unit = SIZES[key]
    return MeasureResult(
        title=title,
        unit=unit,
        n=agreement.n,
        n_missing=int((np.isnan(predicted) & ~np.isnan(reference)).sum()),
        bias=agreement.bias,
        sd=agreement.sd,
        low=agreement.lower,
        high=agreement.upper,
        mad=float(np.abs(agreement.differences).mean()) if agreement.n else math.nan,
        reference=tuple((agreement.means - agreement.differences / 2).tolist()),
        difference=tuple(agreement.differences.tolist()),
        half_width=calibration.half_width if calibration else math.nan,
        n_calibration=calibration.n if calibration else 0,
        coverage=_coverage(calibration.half_width, predicted - reference, subjects) if calibration else math.nan,
    )


def _coverage(half_width: float, errors: np.ndarray, subjects: Sequence[str]) -> float:
    """The share of test subjects whose images all lie inside the interval; NaN where there is none."""
    known = ~np.isnan(errors)
    worst: dict[str, float] = {}
    for subject, error in zip(np.asarray(subjects)[known], np.abs(errors[known]), strict=True):
        worst[subject] = max(error, worst[subject]) if subject in worst else error
    inside = [error <= half_width for error in worst.values()]
    return float(np.mean(inside)) if inside and math.isfinite(half_width) else math.nan


def write_tables(folder: pathlib.Path, test: EvaluatedRecords) -> None:
    """Writes `features.csv`, one row per image and structure, and `biometry.csv`, one row per image; of images only."""
    images = range(len(test.scored.names))
    if any(anatomy.structures for anatomy in test.predicted):
        write_table(folder / "features.csv", [row for i in images for row in _feature_rows(test, i)])
        write_table(folder / "biometry.csv", [_size_row(test, i) for i in images])


def _feature_rows(test: EvaluatedRecords, i: int) -> list[Row]:
    """As in the trans-thalamic thesis, Table 4.4, with the mismatch to the reference (its Eq. 3.10) beside."""
    scored = test.cleaned or test.scored
    wrong = scored.counts.fp[i] + scored.counts.fn[i]
    size = scored.counts.tp[i] + scored.counts.fn[i]
    mismatch = dict(zip(scored.classes, np.where(size > 0, wrong / np.maximum(size, 1), np.nan), strict=True))
    rows = []
    for structure in test.predicted[i].structures:
        row: Row = {"name": scored.names[i], "subject": scored.subjects[i], "structure": structure.name}
        of_structure = {structure.name: math.nan} | mismatch  # the head may be no class of the run
        rows.append(row | _cells(structure) | {"mismatch": cell(of_structure[structure.name])})
    return rows


def _cells(structure: Structure) -> Row:
    """The table of the thesis: area, bounding box, centroid, eccentricity, and what else tells shapes apart."""
    numbers = {key: cell(getattr(structure, key)) for key in ("area_mm2", "eccentricity", "solidity", "parts")}
    box = dict(zip(BOX, structure.box or ("",) * len(BOX), strict=True))
    row, column = map(cell, structure.centroid)
    angle = {"orientation_deg": cell(math.degrees(structure.orientation))}
    return {"area_px": structure.area_px, **box, "centroid_row": row, "centroid_column": column, **numbers, **angle}


def _size_row(test: EvaluatedRecords, i: int) -> Row:
    row: Row = {"name": test.scored.names[i], "subject": test.scored.subjects[i]}
    for key, size in test.predicted[i].sizes.items():
        row |= {key: cell(size), f"{key}_of_reference": cell(test.reference[i].sizes[key])}
    return row


def cell(value: float) -> str:
    """A number of a table; empty where it is undefined."""
    return "" if math.isnan(value) else f"{value:.6g}"
