"""What is normal to a run, from its own training part, and how its test images lie in it: see docs/anomaly.md."""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import AnomalyScore, NormativeModel, not_scored
from fetal_jax.anomaly.ood import OODDetector
from fetal_jax.core.types import UserError
from fetal_jax.evaluation.evaluator import Assessment, Looked
from fetal_jax.evaluation.payload import plain
from fetal_jax.statistics.auroc import auroc

NAMED = 8  # of the most deviant test subjects
NONE = "none"  # what a dataset calls an image without an anomaly
NOTE = (
    "The score is how far the most deviant feature of a predicted mask lies from the normals of the training part, in "
    "standard deviations. It needs no reference. An error of the network looks like an anomaly, and a score on "
    "simulated images is no clinical evidence."
)
REFUSED = " {} of {} images were not scored, as they are unlike the training images."


def fit(training: Looked, validation: Assessment | None, classes: Sequence[str]) -> Detector | None:
    """The detector of a run: normals by the training part's references, the gate by its images and their answers.

    Where there are validation images, which neither has seen, they tell the network's own errors, the p-values and the
    gate's threshold. None where there are too few images for it.
    """
    normal = [i for i, about in enumerate(training.about) if is_normal(about)]
    features, subjects, about = (
        [column[i] for i in normal] for column in (training.features, training.subjects, training.about)
    )
    try:
        model = NormativeModel.fit(features, known(about, "ga_weeks"), subjects, known(about, "plane"))
        gate = OODDetector.fit(training.looks, training.subjects)
    except UserError:  # too few
        return None
    detector = Detector(tuple(classes), gate, model)
    return detector if validation is None else _calibrated(detector, validation)


def _calibrated(detector: Detector, validation: Assessment) -> Detector:
    gate, model = detector.ood, detector.normative
    with contextlib.suppress(UserError):  # too few for its rate: then the threshold of the training images stays
        gate = gate.calibrated(validation.looks)
    keep = [i for i, about in enumerate(validation.about) if is_normal(about) and _knows_plane(model, about)]
    predicted, reference = ([rows[i].features for i in keep] for rows in (validation.predicted, validation.reference))
    about = [validation.about[i] for i in keep]
    model = model.with_errors(predicted, reference, known(about, "plane"))
    images = [model.score(v, a.get("ga_weeks"), a.get("plane")) for v, a in zip(predicted, about, strict=True)]
    if images:
        subjects = by_subject(model, images, [validation.scored.subjects[i] for i in keep])
        model = model.calibrated(images, list(subjects.values()))
    return Detector(detector.classes, gate, model)


def is_normal(about: Mapping[str, Any]) -> bool:
    """Whether no anomaly is known."""
    return about.get("anomaly", NONE) == NONE


def _knows_plane(model: NormativeModel, about: Mapping[str, Any]) -> bool:
    """Whether the training part has normals of an image's plane."""
    return "plane" not in about or about["plane"] in model.planes


def known(about: Sequence[Mapping[str, Any]], key: str) -> list | None:
    """What is known of every image under a key; None where it is not known of all."""
    return [each[key] for each in about] if about and all(key in each for each in about) else None


def by_subject(
    model: NormativeModel, scores: Iterable[AnomalyScore], subjects: Sequence[str]
) -> dict[str, AnomalyScore]:
    """The score of each subject, over all its images."""
    images: dict[str, list[AnomalyScore]] = {}
    for subject, each in zip(subjects, scores, strict=True):
        images.setdefault(subject, []).append(each)
    return {subject: model.combine(of_subject) for subject, of_subject in images.items()}


def of_test(detector: Detector, test: Assessment) -> dict[str, Any]:
    """The scores of the test subjects, for the report."""
    cases = zip(test.looks, test.predicted, test.about, strict=True)
    images = [
        detector.score(seen, anatomy.features, age=about.get("ga_weeks"), plane=about.get("plane"))
        if _knows_plane(detector.normative, about)
        else not_scored(f"there are no normals of plane {about['plane']}")
        for seen, anatomy, about in cases
    ]
    subjects = by_subject(detector.normative, images, test.scored.subjects)
    kinds = {s: a.get("anomaly", NONE) for s, a in zip(test.scored.subjects, test.about, strict=True)}
    scored = {subject: each for subject, each in subjects.items() if math.isfinite(each.score)}
    n_refused = sum(not each.z for each in images)
    most = sorted(scored, key=lambda subject: -scored[subject].score)[:NAMED]
    return plain(
        {
            "normal": [each.score for subject, each in scored.items() if kinds[subject] == NONE],
            "anomalous": [each.score for subject, each in scored.items() if kinds[subject] != NONE],
            "most": [{"name": s, "subject": s, "score": scored[s].score, "words": scored[s].words} for s in most],
            "n_refused": n_refused,
            "n_images": len(images),
            "note": NOTE + (REFUSED.format(n_refused, len(images)) if n_refused else ""),
            **_auroc({s: each.score for s, each in scored.items()}, kinds),
        }
    )


def _auroc(scores: Mapping[str, float], kinds: Mapping[str, str]) -> dict[str, Any]:
    """Area under the ROC curve of all anomalies together and of each kind, with a bootstrap interval by subject."""
    found = {kinds[subject] for subject in scores}
    if len(found) < 2 or NONE not in found:
        return {"auroc": None}
    area, low, high = of_kind(scores, kinds)
    named = {kind: of_kind(scores, kinds, kind)[0] for kind in sorted(found - {NONE})}
    return {"auroc": area, "low": low, "high": high, "kinds": named}


def of_kind(scores: Mapping[str, float], kinds: Mapping[str, str], kind: str = "") -> tuple[float, float, float]:
    """AUROC of a kind of anomaly, or of all, against the normal subjects, with its interval; NaN is left out."""
    subjects = [s for s, score in scores.items() if not math.isnan(score) and kinds[s] in (NONE, kind or kinds[s])]
    values, ill = ([of[subject] for subject in subjects] for of in (scores, kinds))
    return auroc(np.array(values, float), np.array(ill) != NONE, subjects)
