"""The sections of a report on the run itself: its data, stages, training and pseudo-labels."""

from collections import Counter
from typing import Any

from fetal_jax.reporting import charts
from fetal_jax.reporting.data import Report
from fetal_jax.reporting.format import DASH, duration
from fetal_jax.reporting.sections.gallery import figures

USES = {
    "labelled": "training, with references",
    "unlabelled": "training, references not used",
    "validation": "choosing, never training",
    "test": "the scores of this report",
    "unused": "nothing",
}


def parts(report: Report) -> list[dict]:
    subjects = report.splits.get("n_subjects", {})
    named = report.splits.get("parts", {}).items()
    return [
        {"name": name, "images": len(names), "subjects": subjects.get(name, DASH), "use": USES.get(name, "")}
        for name, names in named
    ]


def dealt(request: dict) -> str:
    """What a split was asked for, in words; empty where it does not say."""
    if not request:
        return ""
    asked = ", ".join(
        f"{'all other' if request[part] == -1 else request[part]} {part}"
        for part in ("labelled", "unlabelled", "validation", "test")
    )
    words = [f"{asked} ({request['unit']})"]
    if request["stratify"]:
        words.append(f"stratified by {', '.join(request['stratify'])}")
    if request["folds"]:
        words.append(f"tested on fold {request['fold']} of {request['folds']}")
    if request["labelled_groups"]:
        words.append(f"labelled only of {', '.join(request['labelled_groups'])}")
    return "; ".join(words)


def training(report: Report) -> list[dict]:
    return charts.of_training(report.metrics)


def stage_names(report: Report) -> list[str]:
    """The stages that ran, in order: those that wrote scalars, or else those that have scores."""
    seen = dict.fromkeys(line["stage"] for line in report.metrics if line["kind"] in ("train", "validation"))
    return list(seen) or list(report.summary.get("stages", {}))


def flow(report: Report) -> list[dict]:
    """The boxes of the pipeline figure: every stage, a LABEL box before those that label, and DONE."""
    records = {record["stage"]: record for record in report.labelling}
    boxes = []
    for name in stage_names(report):
        if name in records:
            kind = "label" if records[name]["n_kept"] else "label empty"
            boxes.append({"name": "LABEL", "kind": kind, "facts": _label_facts(records[name])})
        boxes.append({"name": name.upper(), "kind": "train", "facts": _stage_facts(report, name)})
    return [*boxes, {"name": "DONE", "kind": "done", "facts": []}] if boxes else []


def _label_facts(record: dict) -> list[str]:
    settings = [f"{key.replace('_', ' ')} {value}" for key, value in record.get("settings", {}).items()]
    return [f"kept {record['n_kept']} of {record['n_pool']}", f"labeller: {record['labeller']}", *settings]


def stage_settings(report: Report, name: str) -> dict:
    """The settings of a stage; none where the config has no stage of that name."""
    return next((stage for stage in report.config.get("stages", ()) if stage.get("name") == name), {})


def _stage_facts(report: Report, name: str) -> list[str]:
    stage = stage_settings(report, name)
    words = {
        "epochs": lambda value: f"{value} epochs",
        "learning_rate": lambda value: f"learning rate {value:g}",
        "frozen": lambda value: f"frozen: {', '.join(value)}" if value else "all layers train",
        "objective": lambda value: f"objective: {value}",
        "data": lambda value: f"images: {' and '.join(value)}",
    }
    if any(record["stage"] == name and record["n_kept"] == 0 for record in report.labelling):
        stage = {**stage, "data": ["labelled"]}  # what the stage did, whatever the config wanted
    facts = [say(stage[key]) for key, say in words.items() if key in stage]
    seconds = report.summary.get("seconds", {}).get(name)
    return facts if seconds is None else [*facts, f"took {duration(seconds)}"]


def labelling(report: Report) -> dict[str, Any] | None:
    """What each labelling stage kept, and pictures of it."""
    if not report.labelling:
        return None
    gallery = figures(report.pseudo_examples)
    return {"stages": [_labelling(record) for record in report.labelling], "gallery": gallery}


def _labelling(record: dict) -> dict[str, Any]:
    images = record.get("images", [])
    reasons = Counter(image["reason"] for image in images if not image["kept"])
    return {"record": record, "reasons": reasons.most_common(), "histograms": charts.of_labelling(images)}
