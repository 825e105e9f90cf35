"""The report of a run: one HTML file that opens offline, made from data alone.

Every text from outside (names, reasons, settings) is escaped; pictures and charts are inside the file.
"""

import dataclasses
import datetime
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from fetal_jax.atomic import replacing_file
from fetal_jax.evaluation import charts, pictures
from fetal_jax.types import DatasetFacts

AVERAGES = ("per_image", "per_subject", "pooled")
METRICS = ("dice", "jaccard", "precision", "recall", "accuracy")
PICTURE_SIDE = 420
REFERENCE_COLOUR = (0, 214, 100)
PREDICTION_COLOUR = (255, 64, 214)
DASH = "–"


def _today() -> str:
    return datetime.date.today().isoformat()


@dataclasses.dataclass(frozen=True)
class Example:
    """One image of the gallery. `labels` is None where there is no reference."""

    title: str  # e.g. "best"; of a pseudo-label: "kept", or why it was dropped
    name: str
    subject: str
    dice: float | None  # None or NaN: undefined
    image: np.ndarray  # uint8 [h w]
    labels: np.ndarray | None  # class ids [h w]
    prediction: np.ndarray  # class ids [h w], the image's own size


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report tells. Any part may be empty: a section without data is left out.

    The dicts are what a workdir holds as JSON: its settings, the names in each part of the data, the lines of
    `metrics.jsonl`, a record of each labelling stage, the final scores.
    """

    title: str
    config: dict
    splits: dict
    metrics: list[dict]
    labelling: list[dict]
    summary: dict
    facts: DatasetFacts
    examples: list[Example]
    pseudo_examples: list[Example]
    date: str = dataclasses.field(default_factory=_today)


def write_report(path: str | os.PathLike, report: Report) -> None:
    """Writes the report as one HTML file, whole or not at all."""
    with replacing_file(path) as partial:
        partial.write_text(_render(report), encoding="utf-8")


def _render(report: Report) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["score"] = _score
    return environment.get_template("report.html").render(
        report=report,
        summary=report.summary,
        facts=report.facts,
        averages=AVERAGES,
        parts=_parts(report.splits),
        dealt=_dealt(report.splits.get("request", {})),
        flow=_flow(report),
        charts=charts.of_training(report.metrics),
        columns=(columns := _columns(report)),
        rows=_score_rows(columns, report.facts.foreground),
        absent=report.summary.get("test", {}).get("absent", {}),
        warnings=report.summary.get("warnings", []),
        gallery=[_figure(example) for example in report.examples],
        labelling=[_labelling(record) for record in report.labelling],
        pseudo_gallery=[_figure(example) for example in report.pseudo_examples],
        config=json.dumps(report.config, indent=2, default=str),
        reference_colour=f"rgb{REFERENCE_COLOUR}",
        prediction_colour=f"rgb{PREDICTION_COLOUR}",
    )


def _parts(splits: dict) -> list[dict]:
    subjects = splits.get("n_subjects", {})
    parts = splits.get("parts", {}).items()
    return [{"name": name, "images": len(names), "subjects": subjects.get(name)} for name, names in parts]


def _dealt(request: dict) -> str:
    """What a split was asked for, in words; empty where it does not say."""
    if not request:
        return ""
    parts = ("labelled", "unlabelled", "validation", "test")
    asked = ", ".join(f"{'all other' if request[part] == -1 else request[part]} {part}" for part in parts)
    words = [f"{asked} ({request['unit']})"]
    if request["stratify"]:
        words.append(f"stratified by {', '.join(request['stratify'])}")
    if request["folds"]:
        words.append(f"tested on fold {request['fold']} of {request['folds']}")
    if request["labelled_groups"]:
        words.append(f"labelled only of {', '.join(request['labelled_groups'])}")
    return "; ".join(words)


def _stage_names(report: Report) -> list[str]:
    """The stages that ran, in order: those that wrote scalars, or else those that have scores."""
    seen = dict.fromkeys(line["stage"] for line in report.metrics if line["kind"] in ("train", "validation"))
    return list(seen) or list(report.summary.get("stages", {}))


def _flow(report: Report) -> list[dict]:
    """The boxes of the pipeline figure: every stage, a LABEL box before those that label, and DONE."""
    records = {record["stage"]: record for record in report.labelling}
    boxes = []
    for name in _stage_names(report):
        if name in records:
            kind = "label" if records[name]["n_kept"] else "label empty"
            boxes.append({"name": "LABEL", "kind": kind, "facts": _label_facts(records[name])})
        boxes.append({"name": name.upper(), "kind": "train", "facts": _stage_facts(report, name)})
    return [*boxes, {"name": "DONE", "kind": "done", "facts": []}] if boxes else []


def _label_facts(record: dict) -> list[str]:
    settings = [f"{key.replace('_', ' ')} {value}" for key, value in record.get("settings", {}).items()]
    return [f"kept {record['n_kept']} of {record['n_pool']}", f"labeller: {record['labeller']}", *settings]


def _stage_settings(report: Report, name: str) -> dict:
    stages = report.config.get("stages", {})
    base, _, number = name.rpartition("_")  # round 2 of `retrain` is `retrain_2` and has its settings
    return stages.get(name) or (stages.get(base) if number.isdigit() else None) or {}


def _stage_facts(report: Report, name: str) -> list[str]:
    stage = _stage_settings(report, name)
    words = {
        "epochs": lambda value: f"{value} epochs",
        "learning_rate": lambda value: f"learning rate {value:g}",
        "frozen": lambda value: f"frozen: {', '.join(value)}" if value else "all layers train",
        "objective": lambda value: f"objective: {value}",
        "pool": lambda value: "images: labelled" + (" and pool" if value == "both" else ""),
    }
    if any(record["stage"] == name and record["n_kept"] == 0 for record in report.labelling):
        stage = {**stage, "pool": "labelled"}  # what the stage did, whatever the config wanted
    facts = [say(stage[key]) for key, say in words.items() if key in stage]
    seconds = report.summary.get("seconds", {}).get(name)
    return facts if seconds is None else [*facts, f"took {_duration(seconds)}"]


def _columns(report: Report) -> list[dict]:
    """The results that stand side by side. One with two `scores` is the gain of the second over the first."""
    summary, names = report.summary, _stage_names(report)
    if not summary.get("test"):
        return []
    test, note = summary["test"], f"after {summary.get('final_stage', names[-1] if names else 'training')}"
    columns = [{"title": _final_title(report), "note": note, "scores": [test]}]
    first = report.labelling[0]["stage"] if report.labelling else None
    before = names[names.index(first) - 1] if first in names[1:] else None
    if before in summary.get("stages", {}):
        scores = summary["stages"][before]
        title = "Before labelling" if _stage_settings(report, before).get("pool") == "both" else "Supervised only"
        columns.insert(0, {"title": title, "note": f"after {before}", "scores": [scores]})
        columns.append({"title": "Gain", "note": "in points", "scores": [scores, test]})
    if summary.get("test_tta"):
        tta = [summary["test_tta"]]
        columns.append({"title": "With TTA", "note": "test-time augmentation", "scores": tta})
    return columns


def _final_title(report: Report) -> str:
    if not report.labelling:
        return "Final"
    kept = any(record["n_kept"] for record in report.labelling)
    return "Semi-supervised, all stages" if kept else "All stages, no pseudo-label kept"


def _score_rows(columns: Sequence[dict], foreground: Sequence[str]) -> list[dict]:
    """A row a metric and class, with a cell a column and average."""
    names = ("mean", *foreground) if len(foreground) > 1 else ("mean",)
    rows = []
    for metric in METRICS if columns else ():
        for name in names:
            cells = [[_cell(column["scores"], a, metric, name) for a in AVERAGES] for column in columns]
            rows.append({"metric": metric, "class": name, "cells": cells, "span": len(names)})
    return rows


def _cell(scores: Sequence[dict], average: str, metric: str, name: str) -> str:
    values = [each[average].get(metric, {}).get(name) for each in scores]
    if None in values:
        return DASH
    return _score(values[0]) if len(values) == 1 else _points(values[1] - values[0])


def _figure(example: Example) -> dict[str, Any]:
    """An image of the gallery: the reference as a broad line, the prediction as a thin one upon it."""
    picture = pictures.resize(example.image, PICTURE_SIDE)
    marks = [(example.labels, REFERENCE_COLOUR, 4), (example.prediction, PREDICTION_COLOUR, 2)]
    for labels, colour, thickness in marks:
        if labels is not None:
            resized = pictures.resize(labels, PICTURE_SIDE, labels=True)
            colours = [colour] * (int(resized.max()) + 1)
            picture = pictures.outline(picture, [(resized, colours)], thickness=thickness)
    return {"example": example, "source": pictures.data_uri(picture)}


def _labelling(record: dict) -> dict[str, Any]:
    """What the pseudo-label section tells of one labelling stage."""
    images = record.get("images", [])
    reasons = Counter(image["reason"] for image in images if not image["kept"])
    return {"record": record, "reasons": reasons.most_common(), "histograms": charts.of_labelling(images)}


def _score(value: float | None) -> str:
    return DASH if value is None or np.isnan(value) else f"{value:.4f}"


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", "−")


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
