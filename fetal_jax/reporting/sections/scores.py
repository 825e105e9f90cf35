"""The sections of a report on its scores: of the last network with intervals, and all results side by side."""

from collections.abc import Mapping
from typing import Any

from fetal_jax.evaluation.results import OverallResult, ScoresResult
from fetal_jax.evaluation.scores import AVERAGES, Scores
from fetal_jax.metrics.registry import COUNT_METRICS, SURFACE_METRICS
from fetal_jax.reporting.base import DASH, interval, number, percent, points, signed

WITHIN = {"mm": "1 mm", "px": "2 pixels"}  # of surface Dice, as the metrics take it
FIRST = ("dice", "jaccard", "precision", "recall", "specificity")  # of the table; then the others as registered
SIDE_BY_SIDE = ("dice", "jaccard", "precision", "recall", "area_error")  # metrics of the comparison of results

Row = dict[str, Any]


def header_tiles(result: ScoresResult) -> list[dict[str, str]]:
    """The three averages of the Dice, each with its interval."""
    return [
        {
            "value": number(result.test.value(average, "dice")),
            "interval": interval(result.intervals.of(average, "dice")),
            "title": average.replace("_", " "),
        }
        for average in AVERAGES
    ]


def scores(result: ScoresResult) -> dict[str, Any]:
    """Overlap with the reference, what is absent, all pixels together, and all results side by side."""
    columns = side_by_side(result)
    names = dict.fromkeys((*FIRST, *COUNT_METRICS))
    titles = {name: COUNT_METRICS[name].title for name in names if COUNT_METRICS[name].title}
    return {
        "test": result.test,
        "several": len(result.foreground) > 1,
        "rows": _rows(result, titles, digits=4),
        "absent": result.test.absent,
        "overall": _overall(result.overall),
        "columns": columns if len(columns) > 1 else [],
        "beside": side_by_side_rows(result, columns) if len(columns) > 1 else [],
    }


def distances(result: ScoresResult) -> dict[str, Any] | None:
    """In millimetres, or in pixels where the size of a pixel is not known."""
    unit = result.test.distance_unit
    if unit is None:
        return None
    titles = {f"{metric.name}_{unit}": metric.title for metric in SURFACE_METRICS.values()}
    n_unsized = _unsized(result.test) if unit == "mm" else 0
    return {
        "rows": _rows(result, titles, digits=2),
        "note": result.spacing_note,
        "n_measured": result.test.n_images - n_unsized,
        "n_unsized": n_unsized,
        "unit": {"mm": "millimetres", "px": "pixels"}[unit],
        "within": WITHIN[unit],
        "several": len(result.foreground) > 1,
    }


def _unsized(test: Scores) -> int:
    """Images that have a Dice and no millimetres: their pixel size is not known."""
    dice, measured = test.defined["dice"], test.defined["hd95_mm"]
    return max((n - measured[name] for name, n in dice.items()), default=0)


def _rows(result: ScoresResult, titles: Mapping[str, str], digits: int) -> list[Row]:
    """One row per metric and class, with the three averages, the median and the number of images behind them."""
    names = ("mean", *result.foreground) if len(result.foreground) > 1 else ("mean",)
    measured = {metric: title for metric, title in titles.items() if result.test.measures(metric)}
    return [_row(result, metric, title, name, digits) for metric, title in measured.items() for name in names]


def _row(result: ScoresResult, metric: str, title: str, name: str, digits: int) -> Row:
    test, share = result.test, metric.startswith("surface_dice")
    digits = 4 if share else digits
    cells = [
        {
            "value": number(test.value(average, metric, name), digits),
            "interval": interval(result.intervals.of(average, metric, name), min(digits, 3)),
        }
        for average in AVERAGES
    ]
    single = result.foreground[0] if name == "mean" and len(result.foreground) == 1 else name  # its mean is itself
    of_class = single != "mean"  # a mean over classes has no median
    return {
        "metric": metric,
        "title": title,
        "class": name,
        "cells": cells,
        "median": number(test.median[metric][single] if of_class else None, digits),
        "defined": test.defined[metric][single] if of_class else None,
    }


def _overall(overall: OverallResult) -> dict[str, Any]:
    """All pixels of all images as one confusion matrix."""
    facts = {
        "Pixel accuracy": overall.pixel_accuracy,
        "Mean IoU with background": overall.mean_iou,
        "Mean IoU of the structures": overall.mean_iou_foreground,
        "IoU of all structures as one": overall.foreground_iou,
        "Frequency-weighted IoU": overall.frequency_weighted_iou,
    }
    several = len(overall.classes) > 2  # of one structure, macro and micro are its own scores
    rows = [
        {
            "title": COUNT_METRICS[metric].title,
            "cells": [number(overall.macro[metric]), number(overall.micro[metric])],
        }
        for metric in ("dice", "jaccard", "precision", "recall")
    ]
    return {
        "facts": [(title, number(value)) for title, value in facts.items()],
        "rows": rows if several else [],
        "shares": [(name, percent(each["share"], 2)) for name, each in overall.classes.items()],
        "n_defined": overall.n_defined,
    }


def side_by_side(result: ScoresResult) -> list[dict[str, Any]]:
    """The results that stand side by side. One with two `scores` is the gain of the second over the first."""
    columns = [{"title": _final_title(result), "note": f"after {result.final_stage}", "scores": [result.test]}]
    if before := result.before_labelling:
        earlier = result.stages[before]
        title = "Before labelling" if result.pool_before_labelling else "Supervised only"
        columns.insert(0, {"title": title, "note": f"after {before}", "scores": [earlier]})
        columns.append({"title": "Gain", "note": "in points", "scores": [earlier, result.test]})
    return columns + _added(result)


def _added(result: ScoresResult) -> list[dict[str, Any]]:
    """The same network with what was added to it. Post-processing comes last, so it is of all that is before it."""
    added = (
        ("Ensemble", ", ".join(result.ensemble), result.with_ensemble),
        ("With TTA", result.tta, result.with_tta),
        ("Post-processed", result.postprocess, result.postprocessed),
    )
    return [{"title": title, "note": note, "scores": [of_all]} for title, note, of_all in added if of_all]


def _final_title(result: ScoresResult) -> str:
    if result.kept_pseudo_labels is None:
        return "Final"
    return "Semi-supervised, all stages" if result.kept_pseudo_labels else "All stages, no pseudo-label kept"


def side_by_side_rows(result: ScoresResult, columns: list[dict[str, Any]]) -> list[Row]:
    """One row per metric and average of the mean over classes; of Dice, of every class too."""
    foreground, unit = result.foreground, result.test.distance_unit
    wanted = [(metric, COUNT_METRICS[metric].title, "mean") for metric in SIDE_BY_SIDE if result.test.measures(metric)]
    if unit:
        wanted.append((f"hd95_{unit}", f"HD95 ({unit})", "mean"))
    if len(foreground) > 1:
        wanted[1:1] = [("dice", f"Dice, {name}", name) for name in foreground]
    return [
        {
            "metric": metric,
            "title": title,
            "average": average,
            "cells": [_cell(column["scores"], average, metric, name) for column in columns],
        }
        for metric, title, name in wanted
        for average in AVERAGES
    ]


def _cell(scores: list[Scores], average: str, metric: str, name: str) -> str:
    values = [each.value(average, metric, name) for each in scores]
    distance = metric.startswith("hd")
    defined = [value for value in values if value is not None]
    if len(defined) < len(values):
        return DASH
    if len(defined) == 1:
        return number(defined[0], 2 if distance else 4)
    gain = defined[1] - defined[0]
    return signed(gain, 2) if distance else points(gain)
