"""The sections of a report on what a test set says beyond its scores: pixels, sizes, doubt, anomalies, robustness."""

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

from fetal_jax.reporting import charts_clinical as charts_findings
from fetal_jax.reporting import charts_pixels
from fetal_jax.reporting.data import Report
from fetal_jax.reporting.format import DASH, counted, interval, known, number, p_value, percent, points, signed

KINDS = {"roc": "ROC", "pr": "Precision and recall"}
FEW_SUBJECTS = 10  # below it limits of agreement are themselves uncertain by more than half of the SD
LOWEST = 0.05  # Dice axes begin at a multiple of it
HEADS = {"df_mm": "DF (mm)", "adf_mm": "ADF (mm)", "dice": "Dice", "hausdorff_mm": "Hausdorff distance (mm)"}


def pixels(report: Report) -> dict[str, Any] | None:
    """Curves, confusion and calibration, each of all pixels of all test images."""
    found = {
        "curves": _curves(report.details.get("curves") or {}),
        "confusion": _confusion(report.details.get("confusion") or {}),
        "calibration": _calibration(report.details.get("calibration") or {}),
    }
    return {**found, "n_images": report.test.get("n_images")} if any(found.values()) else None


def _curves(by_class: dict) -> list[dict]:
    drawn = []
    for kind, draw in (("roc", charts_pixels.roc), ("pr", charts_pixels.precision_recall)):
        lines = {name: (kinds or {}).get(kind) or {} for name, kinds in by_class.items()}
        known_lines = {name: line for name, line in lines.items() if _has_points(line)}
        missing = [name for name in lines if name not in known_lines]
        if known_lines:
            svg, shown = draw(known_lines)
            title = KINDS[kind] + ("" if shown == 1 else ", the corner only")
            drawn.append({"title": f"{title}; none of {', '.join(missing)}" if missing else title, "svg": svg})
    return drawn


def _has_points(line: dict) -> bool:
    """False of a structure that no test image shows."""
    return any(known(x) and known(y) for x, y in zip(line.get("x") or [], line.get("y") or [], strict=True))


def _confusion(confusion: dict) -> dict[str, Any] | None:
    if not confusion.get("pixels"):
        return None
    counts = np.array(confusion["pixels"], float)
    totals = counts.sum(1)
    shares = counts / np.where(totals == 0, np.nan, totals)[:, None]
    rows = []
    for i, name in enumerate(confusion["classes"]):
        cells = [
            {
                "share": percent(share, 2 if len(counts) < 4 else 1),
                "depth": 0 if np.isnan(share) else round(0.08 + 0.5 * share, 2),
                "right": i == j,
            }
            for j, share in enumerate(shares[i])
        ]
        rows.append({"name": name, "pixels": f"{int(totals[i]):,}", "cells": cells})
    return {"classes": confusion["classes"], "rows": rows}


def _calibration(calibration: dict) -> dict[str, Any] | None:
    if not any(known(each["confidence"]) for each in calibration.get("bins") or []):
        return None
    chart = {"title": "Reliability", "svg": charts_pixels.reliability(calibration["bins"])}
    return {"ece": number(calibration.get("ece")), "brier": number(calibration.get("brier")), "chart": chart}


def biometry(report: Report) -> dict[str, Any] | None:
    found = report.details.get("biometry") or {}
    measures = [measure for measure in (found.get("measures") or {}).values() if measure]
    if not measures:
        return None
    charts = [
        {"title": f"{m['title']}, {counted(m['n'], 'subject')}", "svg": charts_findings.bland_altman(m)}
        for m in measures
        if m["n"]
    ]
    rows, note = [_measure(measure) for measure in measures], found.get("note") or ""
    return {"rows": rows, "charts": charts, "heads": _heads(found.get("heads") or {}), "note": note}


def _heads(heads: dict) -> list[tuple[str, str, str, int]]:
    """A row a measure of the challenge: title, mean, SD, images; none where no head was measured."""
    digits = {"dice": 4}
    return [
        (HEADS[key], number(mean, digits.get(key, 2)), number(sd, digits.get(key, 2)), n)
        for key, (mean, sd, n) in heads.items()
        if known(mean)
    ]


def _measure(measure: dict) -> dict[str, str]:
    half, sd = measure.get("half_width"), measure.get("sd")
    digits = int(np.clip(2 - np.floor(np.log10(sd)), 0, 3)) if known(sd) and sd > 0 else 2  # three of the SD
    limits = interval([measure.get("low"), measure.get("high")], digits)
    return {
        "title": measure["title"],
        "unit": measure.get("unit") or "",
        "n": measure["n"],
        "missing": measure.get("n_missing") or 0,
        "bias": signed(measure.get("bias"), digits),
        "limits": f"{limits} (few subjects)" if limits and measure["n"] < FEW_SUBJECTS else limits,
        "mad": number(measure.get("mad"), digits),
        "half_width": f"± {number(half, digits)}" if known(half) else DASH,
        "calibration": measure.get("n_calibration") or 0,
        "coverage": percent(measure.get("coverage")),
    }


def uncertainty(report: Report) -> dict[str, Any] | None:
    found = report.details.get("uncertainty") or {}
    if not found.get("coverage"):
        return None
    areas = {
        "by the network's own certainty": found.get("area"),
        "any order, on average": found.get("random"),
        "the best order there is": found.get("ideal"),
    }
    return {
        "chart": {"title": "Risk and coverage", "svg": charts_findings.abstention(found)},
        "areas": [(name, number(area)) for name, area in areas.items()],
        "correlation": number(found.get("correlation"), 2),
        "n": len(found["coverage"]),
        "several": len(report.facts.foreground) > 1,
        "n_undefined": found.get("n_undefined") or 0,
    }


def anomaly(report: Report) -> dict[str, Any] | None:
    found = report.details.get("anomaly") or {}
    normal, anomalous = ([x for x in found.get(key) or [] if known(x)] for key in ("normal", "anomalous"))
    if not normal and not anomalous:
        return None
    kinds = [(kind, number(value, 3)) for kind, value in (found.get("kinds") or {}).items()]
    return {
        "chart": {"title": "Anomaly score", "svg": charts_findings.anomalies(normal, anomalous)},
        "n_normal": len(normal),
        "n_anomalous": len(anomalous),
        "auroc": number(found["auroc"], 3) if known(found.get("auroc")) else None,
        "interval": interval([found.get("low"), found.get("high")]),
        "kinds": kinds,
        "most": [{**each, "score": number(each.get("score"), 2)} for each in found.get("most") or []],
        "note": found.get("note") or "",
    }


def robustness(report: Report) -> dict[str, Any] | None:
    found = report.details.get("robustness") or {}
    perturbations = {name: rows for name, rows in (found.get("perturbations") or {}).items() if rows}
    if not perturbations:
        return None
    clean = found.get("clean") or {}
    bottom = _bottom([clean, *itertools.chain(*perturbations.values())])
    return {
        "charts": [
            {"title": name.capitalize(), "svg": charts_findings.robustness(rows, clean, bottom)}
            for name, rows in perturbations.items()
        ],
        "rows": [{"name": name, "cells": [_drop(row) for row in rows]} for name, rows in perturbations.items()],
        "most": max(map(len, perturbations.values())),
        "n_images": found.get("n_images"),
        "several": len(report.facts.foreground) > 1,
        "n_subjects": found.get("n_subjects"),
        "clean": {"dice": number(clean.get("dice")), "interval": interval([clean.get("low"), clean.get("high")])},
        "seeds": _seeds(found.get("seeds") or {}),
    }


def _bottom(rows: Sequence[dict]) -> float:
    """One floor for all charts, so that they compare."""
    heights = [row.get(key) for row in rows for key in ("low", "dice")]
    lowest = min((height for height in heights if known(height)), default=0.0)
    return max(0.0, LOWEST * np.floor(lowest / LOWEST))


def _seeds(seeds: dict) -> dict[str, Any] | None:
    """How far runs that differ in their seed alone lie apart."""
    if not seeds.get("perturbations"):
        return None
    everything = {"as they are": [seeds["clean"]], **seeds["perturbations"]}
    rows = [
        {"name": name, "cells": [{"mean": number(each["mean"]), "sd": number(each["sd"])} for each in of_name]}
        for name, of_name in everything.items()
    ]
    return {"number": len(seeds["workdirs"]), "rows": rows, "icc": number(seeds["clean"].get("icc"), 3)}


def _drop(row: dict) -> dict[str, Any]:
    """The loss of Dice at a strength; `shown` where the test tells it from none."""
    drop = row.get("drop")
    text = points(-drop) if known(drop) else DASH
    return {
        "strength": f"{row['strength']:g}",
        "drop": text,
        "p": p_value(row.get("p")),
        "shown": known(row.get("p")) and row["p"] < 0.05,
    }
