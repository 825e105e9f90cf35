"""The sections of a report on the run itself: its data, stages, training and pseudo-labels."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fetal_jax.evaluation.protocol import LabellingResult, StageResult
from fetal_jax.reporting.base import DASH, PseudoLabelsResult, duration
from fetal_jax.reporting.charts.training import labelling_charts
from fetal_jax.reporting.sections.gallery import figures
from input_pipeline.splits import Request, Splits

USES = {
    "labelled": "training, with references",
    "unlabelled": "training, references not used",
    "validation": "model selection, never training",
    "test": "the scores of this report",
    "unused": "nothing",
}


def parts(splits: Splits) -> list[dict[str, Any]]:
    n_subjects: dict[str, int | str] = dict.fromkeys(splits.parts, DASH) | splits.n_subjects
    return [
        {
            "name": name,
            "images": len(names),
            "subjects": n_subjects[name],
            "use": USES[name],
        }
        for name, names in splits.parts.items()
    ]


def split_in_words(request: Request | None) -> str:
    """What a split was asked for; empty where it does not say."""
    if request is None:
        return ""
    asked = ", ".join(
        f"{'all other' if number == -1 else number} {part}"
        for part, number in (
            ("labelled", request.labelled),
            ("unlabelled", request.unlabelled),
            ("validation", request.validation),
            ("test", request.test),
        )
    )
    words = [f"{asked} ({request.unit})"]
    if request.stratify:
        words.append(f"stratified by {', '.join(request.stratify)}")
    if request.folds:
        words.append(f"tested on fold {request.fold} of {request.folds}")
    if request.labelled_groups:
        words.append(f"labelled only of {', '.join(request.labelled_groups)}")
    return "; ".join(words)


def flow(stages: Sequence[StageResult]) -> list[dict[str, Any]]:
    """The boxes of the protocol: every stage, a LABEL box before those with a labelling, and DONE."""
    boxes: list[dict[str, Any]] = []
    for stage in stages:
        if labelling := stage.labelling:
            kind = "label" if labelling.n_kept else "label empty"
            boxes.append({"name": "LABEL", "kind": kind, "facts": _labelling_facts(labelling)})
        boxes.append({"name": stage.name.upper(), "kind": "train", "facts": _stage_facts(stage)})
    return [*boxes, {"name": "DONE", "kind": "done", "facts": []}] if boxes else []


def _labelling_facts(labelling: LabellingResult) -> list[str]:
    settings = [f"{key.replace('_', ' ')} {value}" for key, value in labelling.settings.items()]
    return [f"kept {labelling.n_kept} of {labelling.n_pool}", f"labeller: {labelling.labeller}", *settings]


def _stage_facts(stage: StageResult) -> list[str]:
    facts = [
        f"{stage.epochs} epochs",
        f"learning rate {stage.learning_rate:g}",
        f"frozen: {', '.join(stage.frozen)}" if stage.frozen else "all layers train",
        f"objective: {stage.objective}",
        "images: labelled" + (" and unlabelled" if stage.used_unlabelled else ""),
    ]
    return facts if stage.seconds is None else [*facts, f"took {duration(stage.seconds)}"]


def pseudo_labels(result: PseudoLabelsResult) -> dict[str, Any] | None:
    """What each labelling kept, and pictures of the last one."""
    if not result.labelling:
        return None
    return {"stages": [_labelling(each) for each in result.labelling], "gallery": figures(result.images)}


def _labelling(labelling: LabellingResult) -> dict[str, Any]:
    reasons = Counter(image.reason for image in labelling.images if not image.kept)
    return {
        "record": labelling,
        "reasons": reasons.most_common(),
        "histograms": labelling_charts(labelling.images),
    }
