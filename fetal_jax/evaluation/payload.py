"""What a report draws of an assessed test set, as JSON data: curves, confusion, calibration, choices."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax.evaluation.evaluator import Assessment
from fetal_jax.evaluation.paired_selection import Choice
from fetal_jax.metrics import curves
from fetal_jax.metrics.overlap import overall
from fetal_jax.metrics.pixel_histogram import PixelHistogram


def of_scores(assessment: Assessment) -> dict[str, Any]:
    """Everything that comes from the tally of all pixels."""
    classes = ("background", *assessment.scored.classes)
    return {
        "overall": overall(assessment.tally.confusion, classes),
        "curves": _curves(assessment.tally, classes[1:]),
        "confusion": {"classes": list(classes), "pixels": assessment.tally.confusion.tolist()},
        "calibration": _calibration(assessment.tally),
    }


def _curves(tally: PixelHistogram, classes: Sequence[str]) -> dict[str, Any]:
    kinds = {
        "roc": (curves.roc(tally), curves.auc_roc(tally)),
        "pr": (curves.precision_recall(tally), curves.auc_pr(tally)),
    }
    return {
        name: {
            kind: {"x": lines[i].x.tolist(), "y": lines[i].y.tolist(), "auc": number(areas[i])}
            for kind, (lines, areas) in kinds.items()
        }
        for i, name in enumerate(classes)
    }


def _calibration(tally: PixelHistogram) -> dict[str, Any]:
    bins = curves.reliability(tally)
    rows = zip(bins.confidence, bins.accuracy, bins.share, strict=True)
    return {
        "ece": curves.ece(tally),
        "brier": curves.brier(tally),
        "bins": [dict(zip(("confidence", "accuracy", "share"), map(number, row), strict=True)) for row in rows],
    }


def of_choice(choice: Choice) -> dict[str, Any]:
    """What was chosen from what, and why."""
    keys = ("name", "mean", "difference", "p")
    rows = [{key: plain(getattr(candidate, key)) for key in keys} for candidate in choice.candidates]
    return {"chosen": choice.chosen, "reason": choice.reason, "candidates": rows}


def stage_before(stages: Sequence[str], labelling: Sequence[Mapping[str, Any]]) -> str | None:
    """The stage before the first labelling: what the unlabelled images are to improve on."""
    first = labelling[0]["stage"] if labelling else None
    return stages[stages.index(first) - 1] if first in stages[1:] else None


def plain(value: Any) -> Any:
    """Data that JSON can hold: NaN and infinity are None."""
    if dataclasses.is_dataclass(value):
        return plain(dataclasses.asdict(value))
    if isinstance(value, Mapping):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def number(value: float) -> float | None:
    """A number for JSON; None where it is undefined."""
    return float(value) if math.isfinite(value) else None
