"""The sections of a report on its scores: those of the last network by itself, with their intervals."""

from collections.abc import Sequence
from typing import Any

from fetal_jax.reporting.data import Report
from fetal_jax.reporting.format import Number, interval, number, percent
from fetal_jax.reporting.sections.ablation import AVERAGES, DISTANCES, OVERLAP, beside_rows, distance_unit, results

WITHIN = {"mm": "1 mm", "px": "2 pixels"}  # of surface Dice, as the metrics take it

Row = dict[str, Any]


def header_tiles(report: Report) -> list[dict[str, str]]:
    """The three averages of the Dice, each with its interval."""
    tiles = []
    for average in AVERAGES if report.test else ():
        dice = report.test[average].get("dice", {}).get("mean")
        ends = _interval(report, average, "dice", "mean")
        tiles.append({"value": number(dice), "interval": interval(ends), "title": average.replace("_", " ")})
    return tiles


def scores(report: Report) -> dict[str, Any] | None:
    """Overlap with the reference, what is absent, all pixels together, and all results beside each other."""
    if not report.test:
        return None
    columns = results(report)
    return {
        "test": report.test,
        "several": len(report.facts.foreground) > 1,
        "rows": _rows(report, OVERLAP, digits=4),
        "intervals": bool(report.details.get("intervals")),
        "absent": report.test.get("absent", {}),
        "overall": _overall(report.details.get("overall") or {}),
        "columns": columns if len(columns) > 1 else [],
        "beside": beside_rows(report, columns) if len(columns) > 1 else [],
        "gain_tested": bool(report.details.get("gain")),
    }


def distances(report: Report) -> dict[str, Any] | None:
    """In millimetres, or in pixels where no size of a pixel is known."""
    unit = distance_unit(report)
    if unit is None:
        return None
    metrics = {f"{metric}_{unit}": title for metric, title in DISTANCES.items()}
    rows, n_unsized = _rows(report, metrics, digits=2), _unsized(report) if unit == "mm" else 0
    n_measured = report.test["n_images"] - n_unsized
    words = {"unit": {"mm": "millimetres", "px": "pixels"}[unit], "within": WITHIN[unit]}
    words |= {"several": len(report.facts.foreground) > 1, "intervals": bool(report.details.get("intervals"))}
    return {
        "rows": rows,
        "note": report.details.get("mm_note"),
        "n_measured": n_measured,
        "n_unsized": n_unsized,
        **words,
    }


def _unsized(report: Report) -> int:
    """Images that have a Dice and no millimetres: their pixel size is not known."""
    defined = report.test.get("defined", {})
    measured = defined.get("hd95_mm", {})
    return max((number - measured.get(name, number) for name, number in defined.get("dice", {}).items()), default=0)


def _rows(report: Report, metrics: dict[str, str], digits: int) -> list[Row]:
    """A row a metric and class, with the three averages, the median and the number of images they are from."""
    foreground = report.facts.foreground
    names = ("mean", *foreground) if len(foreground) > 1 else ("mean",)
    return [
        _row(report, metric, title, name, digits)
        for metric, title in metrics.items()
        if metric in report.test["per_image"]
        for name in names
    ]


def _row(report: Report, metric: str, title: str, name: str, digits: int) -> Row:
    share = metric.startswith("surface_dice")
    cells = []
    for average in AVERAGES:
        value = report.test[average].get(metric, {}).get(name)
        ends = _interval(report, average, metric, name)
        cells.append(
            {
                "value": number(value, 4 if share else digits),
                "interval": interval(ends, 3 if share or digits > 3 else digits),
            }
        )
    foreground = report.facts.foreground
    single = foreground[0] if name == "mean" and len(foreground) == 1 else name  # its mean is itself
    median = report.test.get("median", {}).get(metric, {}).get(single)
    defined = report.test.get("defined", {}).get(metric, {}).get(single)
    return {
        "metric": metric,
        "title": title,
        "class": name,
        "cells": cells,
        "median": number(median, 4 if share else digits),
        "defined": defined,
    }


def _interval(report: Report, average: str, metric: str, name: str) -> Sequence[Number] | None:
    intervals = report.details.get("intervals") or {}
    return ((intervals.get(average) or {}).get(metric) or {}).get(name)


def _overall(overall: dict) -> dict[str, Any]:
    """All pixels of all images as one confusion matrix."""
    titles = {
        "pixel_accuracy": "Pixel accuracy",
        "mean_iou": "Mean IoU with background",
        "mean_iou_foreground": "Mean IoU of the structures",
        "foreground_iou": "IoU of all structures as one",
        "frequency_weighted_iou": "Frequency-weighted IoU",
    }
    facts = [(title, number(overall[key])) for key, title in titles.items() if key in overall]
    several = len(overall.get("classes") or {}) > 2  # of one structure, macro and micro are its own scores
    kinds = {kind: overall.get(kind) or {} for kind in ("macro", "micro")} if several else {}
    rows = [
        {"title": OVERLAP[metric], "cells": [number(of_kind.get(metric)) for of_kind in kinds.values()]}
        for metric in ("dice", "jaccard", "precision", "recall")
        if any(metric in of_kind for of_kind in kinds.values())
    ]
    classes = [(name, percent(each.get("share"), 2)) for name, each in (overall.get("classes") or {}).items()]
    return {"facts": facts, "rows": rows, "shares": classes, "n_defined": overall.get("n_defined")}
