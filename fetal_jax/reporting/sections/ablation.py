"""Several results of a run beside each other: before and after labelling, with what was added to the last network."""

from collections.abc import Sequence
from typing import Any

from fetal_jax.evaluation.payload import stage_before
from fetal_jax.reporting.data import Report
from fetal_jax.reporting.format import DASH, number, points, signed
from fetal_jax.reporting.sections.run import stage_names, stage_settings

AVERAGES = ("per_image", "per_subject", "pooled")
OVERLAP = {  # F1 is Dice by another name
    "dice": "Dice",
    "jaccard": "Jaccard (IoU)",
    "precision": "Precision",
    "recall": "Recall",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "area_error": "Area error",
}
DISTANCES = {
    "hd95": "HD95",
    "hd": "Hausdorff",
    "assd": "Mean (ASSD)",
    "asd": "Mean (ASD)",
    "surface_dice": "Surface Dice",
}
BESIDE = ("dice", "jaccard", "precision", "recall", "area_error")

Row = dict[str, Any]


def distance_unit(report: Report) -> str | None:
    measured = report.test.get("per_image", {})
    return next((unit for unit in ("mm", "px") if f"hd95_{unit}" in measured), None)


def results(report: Report) -> list[dict]:
    """The results that stand side by side. One with two `scores` is the gain of the second over the first."""
    summary, names = report.summary, stage_names(report)
    if not report.test:
        return []
    note = f"after {summary.get('final_stage', names[-1] if names else 'training')}"
    columns = [{"title": _final_title(report), "note": note, "scores": [report.test]}]
    before = stage_before(names, report.labelling)
    if before in summary.get("stages", {}):
        earlier = summary["stages"][before]
        learned = "unlabelled" in stage_settings(report, before).get("data", ())
        title = "Before labelling" if learned else "Supervised only"
        columns.insert(0, {"title": title, "note": f"after {before}", "scores": [earlier]})
        columns.append({"title": "Gain", "note": "in points", "scores": [earlier, report.test]})
    return columns + _answers(report)


def _answers(report: Report) -> list[dict]:
    """The same network with what was added to it. Post-processing comes last, so it is of all that is before it."""
    named = {kind: choice.get("chosen") for kind, choice in (report.details.get("choices") or {}).items() if choice}
    tta = named.get("tta") or report.summary.get("tta") or "test-time augmentation"
    cleaning = named.get("postprocess") or report.summary.get("postprocess") or "chosen on validation images"
    added = {
        "test_ensemble": ("Ensemble", ", ".join(report.summary.get("ensemble") or []) or "several networks"),
        "test_tta": ("With TTA", tta),
        "test_cleaned": ("Post-processed", cleaning),
    }
    found = {key: words for key, words in added.items() if report.summary.get(key)}
    return [{"title": title, "note": note, "scores": [report.summary[key]]} for key, (title, note) in found.items()]


def _final_title(report: Report) -> str:
    if not report.labelling:
        return "Final"
    kept = any(record["n_kept"] for record in report.labelling)
    return "Semi-supervised, all stages" if kept else "All stages, no pseudo-label kept"


def beside_rows(report: Report, columns: Sequence[dict]) -> list[Row]:
    """A row a metric and average of the mean over classes; of Dice, of every class too."""
    foreground, unit = report.facts.foreground, distance_unit(report)
    wanted = [(metric, OVERLAP[metric], "mean") for metric in BESIDE if metric in report.test["per_image"]]
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


def _cell(scores: Sequence[dict], average: str, metric: str, name: str) -> str:
    values = [each[average].get(metric, {}).get(name) for each in scores]
    distance = metric.startswith("hd")
    if None in values:
        return DASH
    if len(values) == 1:
        return number(values[0], 2 if distance else 4)
    gain = values[1] - values[0]
    return signed(gain, 2) if distance else points(gain)
