"""Scores of experiments/anomaly_phantom.py: AUROC of subjects with a planted anomaly against normal ones."""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import AnomalyScore, NormativeModel
from fetal_jax.anomaly.ood import OODDetector
from fetal_jax.evaluation.normative import auroc_of_kind

NOTE = "Anomalies planted in simulated images. A phantom is not clinical evidence: nothing about patients follows."
KNOWN = ("ga_weeks", "subject", "plane")  # at the time of the scan, beside the image


@dataclasses.dataclass(frozen=True)
class Case:
    """One image: what is known of it, and the features of its reference mask and of the network's prediction."""

    subject: str
    plane: str
    anomaly: str
    ga_weeks: float
    reference: dict[str, float]
    predicted: dict[str, float]
    statistics: dict[str, float]  # of the image and the prediction, for the out-of-distribution detector
    mismatch: float  # the thesis score, mean over the structures that the reference shows


def normative_model(training: Sequence[Case]) -> NormativeModel:
    """Fitted on the reference masks of the subjects without an anomaly."""
    normal = [case for case in training if case.anomaly == "none"]
    return NormativeModel.fit(*([getattr(case, key) for case in normal] for key in ("reference", *KNOWN)))


def fit(training: Sequence[Case], validation: Sequence[Case], classes: Sequence[str]) -> Detector:
    """Fitted on the training subjects; the network's error, threshold and p-values are of the validation subjects."""
    pairs = ([getattr(case, key) for case in validation] for key in ("predicted", "reference", "plane"))
    ood = OODDetector.fit([case.statistics for case in training], [case.subject for case in training])
    ood = ood.calibrated([case.statistics for case in validation])
    detector = Detector(tuple(classes), ood, normative_model(training).with_errors(*pairs))
    unseen = [case for case in validation if case.anomaly == "none"]
    images = itertools.chain(*by_subject(detector, unseen).values())
    subjects = combined(detector, unseen).values()
    return dataclasses.replace(detector, normative=detector.normative.calibrated(list(images), list(subjects)))


def by_subject(detector: Detector, cases: Iterable[Case], *, told: bool = True) -> dict[str, list[AnomalyScore]]:
    """The scores of the images of each subject; the plane is `told` or inferred."""
    scores = defaultdict(list)
    for case in cases:
        plane = case.plane if told else None
        score = detector.score(case.statistics, case.predicted, age=case.ga_weeks, plane=plane)
        scores[case.subject].append(score)
    return scores


def combined(detector: Detector, cases: Iterable[Case], *, told: bool = True) -> dict[str, AnomalyScore]:
    """The score of each subject."""
    scores = by_subject(detector, cases, told=told)
    return {subject: detector.normative.combine(found) for subject, found in scores.items()}


def upper_bound(model: NormativeModel, cases: Iterable[Case]) -> dict[str, float]:
    """Scores by subject from the reference masks, as if the network made no error."""
    scores = defaultdict(list)
    for case in cases:
        scores[case.subject].append(model.score(case.reference, case.ga_weeks, case.plane))
    return {subject: model.combine(found).score for subject, found in scores.items()}


def thesis_scores(cases: Iterable[Case]) -> dict[str, float]:
    """By subject, the median over its images. It reads the reference mask of the very image it scores."""
    scores = defaultdict(list)
    for case in cases:
        scores[case.subject].append(case.mismatch)
    return {subject: float(np.median(found)) for subject, found in scores.items()}


def auroc(scores: dict[str, float], kinds: dict[str, str], kind: str = "") -> dict[str, float]:
    """Of a kind of anomaly, or of all, against the normal subjects: with the 95 % bootstrap interval by subject."""
    return dict(zip(("auroc", "low", "high"), auroc_of_kind(scores, kinds, kind), strict=True))


def result(detector: Detector, model: NormativeModel, test: Sequence[Case]) -> dict:
    """What `anomaly.json` holds."""
    kinds = {case.subject: case.anomaly for case in test}
    subjects = combined(detector, test)
    scores, untold = (
        {name: subject.score for name, subject in of.items()} for of in (subjects, combined(detector, test, told=False))
    )
    named = sorted({*kinds.values()} - {"none"})
    columns = {
        "reference": upper_bound(model, test),
        "predicted": scores,
        "untold": untold,
        "thesis": thesis_scores(test),
    }
    known = {name: score for name, score in scores.items() if not math.isnan(score)}
    return {
        **auroc(scores, kinds),
        "kinds": {kind: auroc(scores, kinds, kind)["auroc"] for kind in named},
        "normal": sorted(score for name, score in known.items() if kinds[name] == "none"),
        "anomalous": sorted(score for name, score in known.items() if kinds[name] != "none"),
        "n_not_scored": len(scores) - len(known),
        "images_refused": float(np.mean([not detector.ood(case.statistics).inside for case in test])),
        "tables": {
            name: {kind or "all": auroc(column, kinds, kind) for kind in ("", *named)}
            for name, column in columns.items()
        },
        "words": {name: f"{kinds[name]}: {subject.words}" for name, subject in sorted(subjects.items())},
        "note": NOTE,
    }
