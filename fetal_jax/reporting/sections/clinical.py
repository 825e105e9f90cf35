"""The sections of a report beyond its scores: pixels, biometry, uncertainty, anomalies, robustness."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax.evaluation.results import (
    AnomalyResult,
    BiometryResult,
    CalibrationResult,
    ClassCurves,
    ConfusionResult,
    CorruptionResult,
    MeanSdN,
    MeasureResult,
    PixelCurve,
    PixelResult,
    RobustnessResult,
    SeedsResult,
    UncertaintyResult,
)
from fetal_jax.reporting.base import (
    DASH,
    Chart,
    counted,
    interval,
    known,
    number,
    p_value,
    percent,
    points,
    signed,
)
from fetal_jax.reporting.charts import clinical as charts
from fetal_jax.reporting.charts import pixels as pixel_charts

FEW_SUBJECTS = 10  # below it limits of agreement are themselves uncertain by more than half of the SD
LOWEST = 0.05  # Dice axes begin at a multiple of it
HEADS = {"df_mm": "DF (mm)", "adf_mm": "ADF (mm)", "dice": "Dice", "hausdorff_mm": "Hausdorff distance (mm)"}


def pixels(result: PixelResult) -> dict[str, Any]:
    """Curves, confusion and calibration, each of all pixels of all test images."""
    return {
        "n_images": result.n_images,
        "curves": _curves(result.curves),
        "confusion": _confusion(result.confusion),
        "calibration": _calibration(result.calibration),
    }


def _curves(by_class: Mapping[str, ClassCurves]) -> list[Chart]:
    kinds = (
        ("ROC", pixel_charts.roc, {name: curves.roc for name, curves in by_class.items()}),
        ("Precision and recall", pixel_charts.precision_recall, {name: curves.pr for name, curves in by_class.items()}),
    )
    drawn = []
    for title, draw, lines in kinds:
        known_lines = {name: line for name, line in lines.items() if _has_points(line)}
        missing = [name for name in lines if name not in known_lines]
        if known_lines:
            svg, shown = draw(known_lines)
            title += "" if shown == 1 else ", the corner only"
            drawn.append(Chart(f"{title}; none of {', '.join(missing)}" if missing else title, svg))
    return drawn


def _has_points(line: PixelCurve) -> bool:
    """False of a structure that no test image shows."""
    return any(known(x) and known(y) for x, y in zip(line.x, line.y, strict=True))


def _confusion(confusion: ConfusionResult) -> dict[str, Any]:
    counts = np.array(confusion.pixels, float)
    totals = counts.sum(1)
    shares = counts / np.where(totals == 0, np.nan, totals)[:, None]
    rows = []
    for i, name in enumerate(confusion.classes):
        cells = [
            {
                "share": percent(share, 2 if len(counts) < 4 else 1),
                "depth": 0 if np.isnan(share) else round(0.08 + 0.5 * share, 2),
                "right": i == j,
            }
            for j, share in enumerate(shares[i])
        ]
        rows.append({"name": name, "pixels": f"{int(totals[i]):,}", "cells": cells})
    return {"classes": confusion.classes, "rows": rows}


def _calibration(calibration: CalibrationResult) -> dict[str, Any] | None:
    if not any(known(each.confidence) for each in calibration.bins):
        return None
    chart = Chart("Reliability", pixel_charts.reliability(calibration.bins))
    return {"ece": number(calibration.ece), "brier": number(calibration.brier), "chart": chart}


def biometry(result: BiometryResult) -> dict[str, Any] | None:
    """Agreement of each size, and of heads as ellipses."""
    if not result.measures:
        return None
    measures = result.measures.values()
    return {
        "rows": [_measure(measure) for measure in measures],
        "charts": [Chart(f"{m.title}, {counted(m.n, 'subject')}", charts.bland_altman(m)) for m in measures if m.n],
        "heads": _heads(result.heads),
        "note": result.note,
    }


def _heads(heads: Mapping[str, MeanSdN]) -> list[tuple[str, str, str, int]]:
    """One row per measure of the challenge: title, mean, SD, images; none where no head was measured."""
    digits = {key: 4 if key == "dice" else 2 for key in heads}
    return [
        (HEADS[key], number(row.mean, digits[key]), number(row.sd, digits[key]), row.n)
        for key, row in heads.items()
        if known(row.mean)
    ]


def _measure(measure: MeasureResult) -> dict[str, Any]:
    half, sd = measure.half_width, measure.sd
    digits = int(np.clip(2 - np.floor(np.log10(sd)), 0, 3)) if known(sd) and sd > 0 else 2  # three of the SD
    limits = interval([measure.low, measure.high], digits)
    return {
        "title": measure.title,
        "unit": measure.unit,
        "n": measure.n,
        "missing": measure.n_missing,
        "bias": signed(measure.bias, digits),
        "limits": f"{limits} (few subjects)" if limits and measure.n < FEW_SUBJECTS else limits,
        "mad": number(measure.mad, digits),
        "half_width": f"± {number(half, digits)}" if math.isfinite(half) else DASH,
        "calibration": measure.n_calibration,
        "coverage": percent(measure.coverage),
    }


def uncertainty(result: UncertaintyResult) -> dict[str, Any]:
    """The risk-coverage curve and its areas."""
    curve = result.curve
    areas = {
        "by the network's own certainty": curve.aurc,
        "any order, on average": curve.random,
        "the best order there is": curve.oracle,
    }
    return {
        "chart": Chart("Risk and coverage", charts.risk_coverage(curve)),
        "areas": [(name, number(area)) for name, area in areas.items()],
        "correlation": number(result.correlation, 2),
        "n": len(curve.coverage),
        "n_undefined": curve.n_undefined,
    }


def anomaly(result: AnomalyResult) -> dict[str, Any] | None:
    """Scores of normal and anomalous subjects, and how well they are told apart."""
    normal, anomalous = ([score for score in scores if known(score)] for scores in (result.normal, result.anomalous))
    if not normal and not anomalous:
        return None
    separation = result.separation
    return {
        "chart": Chart("Anomaly score", charts.anomalies(normal, anomalous)),
        "n_normal": len(normal),
        "n_anomalous": len(anomalous),
        "auroc": number(separation.auroc, 3) if separation and known(separation.auroc) else None,
        "interval": interval([separation.low, separation.high]) if separation else "",
        "kinds": [(kind, number(value, 3)) for kind, value in separation.kinds.items()] if separation else [],
        "most": [
            {"name": each.name, "subject": each.subject, "score": number(each.score, 2), "words": each.words}
            for each in result.most
        ],
        "note": result.note,
    }


def robustness(result: RobustnessResult) -> dict[str, Any]:
    """Dice by corruption and strength, drops with their tests, and the spread over seeds."""
    clean, perturbations = result.clean, result.perturbations
    rows = itertools.chain(*perturbations.values())
    bottom = _bottom([(clean.low, clean.dice), *((row.low, row.dice) for row in rows)])
    return {
        "charts": [
            Chart(name.capitalize(), charts.robustness(rows, clean, bottom)) for name, rows in perturbations.items()
        ],
        "rows": [{"name": name, "cells": [_drop(row) for row in rows]} for name, rows in perturbations.items()],
        "most": max(map(len, perturbations.values())),
        "n_images": result.n_images,
        "n_subjects": result.n_subjects,
        "clean": {"dice": number(clean.dice), "interval": interval([clean.low, clean.high])},
        "seeds": _seeds(result.seeds) if result.seeds else None,
    }


def _bottom(heights: Sequence[tuple[float, float]]) -> float:
    """One floor for all charts, so that they compare."""
    lowest = min((height for height in itertools.chain(*heights) if known(height)), default=0.0)
    return float(max(0.0, LOWEST * np.floor(lowest / LOWEST)))


def _seeds(seeds: SeedsResult) -> dict[str, Any]:
    """How far runs that differ in their seed alone lie apart."""
    everything = {"as they are": (seeds.clean,), **seeds.perturbations}
    rows = [
        {"name": name, "cells": [{"mean": number(each.mean), "sd": number(each.sd)} for each in of_name]}
        for name, of_name in everything.items()
    ]
    return {"number": len(seeds.workdirs), "rows": rows, "icc": number(seeds.clean.icc, 3)}


def _drop(row: CorruptionResult) -> dict[str, Any]:
    """The loss of Dice at a strength; `shown` where the test tells it from none."""
    return {
        "strength": f"{row.strength:g}",
        "drop": points(-row.drop),
        "p": p_value(row.p),
        "shown": known(row.p) and row.p < 0.05,
    }
