"""The anomaly detector of a run: fitted on a reference cohort of its training part, and its test scores.

See docs/anomaly.md.
"""

import contextlib
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import AnomalyScore, NormativeModel, not_scored
from fetal_jax.anomaly.ood import OODDetector
from fetal_jax.core.types import UserError
from fetal_jax.evaluation.evaluator import NO_ANOMALY, EvaluatedRecords, ImageFacts, ReferenceCohort
from fetal_jax.evaluation.results import AnomalyResult, AurocResult, DeviantSubject
from fetal_jax.statistics.auroc import auroc

T = TypeVar("T")

NAMED = 8  # of the most deviant test subjects
NOTE = (
    "The score is how far the most deviant feature of a predicted mask lies from the normals of the training part, in "
    "standard deviations. It needs no reference. An error of the network looks like an anomaly, and a score on "
    "simulated images is not clinical evidence."
)
REFUSED = " {} of {} images were not scored, as they are unlike the training images."


def fit_detector(
    training: ReferenceCohort, validation: EvaluatedRecords | None, classes: Sequence[str]
) -> Detector | None:
    """The detector of a run: the normative model by the training references, the OOD detector by their images.

    Where there are validation images, which neither has seen, they tell the network's own errors, the p-values and the
    threshold of the OOD detector. None where there are too few images for it.
    """
    normal = [i for i, facts in enumerate(training.facts) if is_normal(facts)]
    features, subjects = [training.features[i] for i in normal], [training.subjects[i] for i in normal]
    facts = [training.facts[i] for i in normal]
    try:
        model = NormativeModel.fit(features, known_ages(facts), subjects, known_planes(facts))
        gate = OODDetector.fit(training.image_statistics, training.subjects)
    except UserError:  # too few
        return None
    detector = Detector(tuple(classes), gate, model)
    return detector if validation is None else _calibrated(detector, validation)


def _calibrated(detector: Detector, validation: EvaluatedRecords) -> Detector:
    gate, model = detector.ood, detector.normative
    with contextlib.suppress(UserError):  # too few for its rate: then the threshold of the training images stays
        gate = gate.calibrated(validation.image_statistics)
    keep = [i for i, facts in enumerate(validation.facts) if is_normal(facts) and _knows_plane(model, facts)]
    predicted, reference = ([rows[i].features for i in keep] for rows in (validation.predicted, validation.reference))
    facts = [validation.facts[i] for i in keep]
    model = model.with_errors(predicted, reference, known_planes(facts))
    images = [model.score(v, f.ga_weeks, f.plane) for v, f in zip(predicted, facts, strict=True)]
    if images:
        subjects = by_subject(model, images, [validation.scored.subjects[i] for i in keep])
        model = model.calibrated(images, list(subjects.values()))
    return Detector(detector.classes, gate, model)


def is_normal(facts: ImageFacts) -> bool:
    """Whether no anomaly is known."""
    return facts.anomaly == NO_ANOMALY


def _knows_plane(model: NormativeModel, facts: ImageFacts) -> bool:
    """Whether the training part has normals of an image's plane."""
    return facts.plane is None or facts.plane in model.planes


def known_ages(facts: Sequence[ImageFacts]) -> list[float] | None:
    """The gestational age of every image; None where it is not known of all."""
    return _all_known([each.ga_weeks for each in facts])


def known_planes(facts: Sequence[ImageFacts]) -> list[str] | None:
    """The plane of every image; None where it is not known of all."""
    return _all_known([each.plane for each in facts])


def _all_known(values: Sequence[T | None]) -> list[T] | None:
    known = [value for value in values if value is not None]
    return known if known and len(known) == len(values) else None


def by_subject(
    model: NormativeModel, scores: Iterable[AnomalyScore], subjects: Sequence[str]
) -> dict[str, AnomalyScore]:
    """The score of each subject, over all its images."""
    images: dict[str, list[AnomalyScore]] = {}
    for subject, each in zip(subjects, scores, strict=True):
        images.setdefault(subject, []).append(each)
    return {subject: model.combine(of_subject) for subject, of_subject in images.items()}


def anomaly_result(detector: Detector, test: EvaluatedRecords) -> AnomalyResult:
    """The anomaly scores of the test subjects."""
    images = [_score(detector, test, i) for i in range(len(test.facts))]
    subjects = by_subject(detector.normative, images, test.scored.subjects)
    kinds = {subject: facts.anomaly for subject, facts in zip(test.scored.subjects, test.facts, strict=True)}
    scored = {subject: each for subject, each in subjects.items() if math.isfinite(each.score)}
    n_refused = sum(not each.z for each in images)
    most = sorted(scored, key=lambda subject: -scored[subject].score)[:NAMED]
    return AnomalyResult(
        normal=tuple(each.score for subject, each in scored.items() if kinds[subject] == NO_ANOMALY),
        anomalous=tuple(each.score for subject, each in scored.items() if kinds[subject] != NO_ANOMALY),
        most=tuple(DeviantSubject(s, s, scored[s].score, scored[s].words) for s in most),
        n_refused=n_refused,
        n_images=len(images),
        note=NOTE + (REFUSED.format(n_refused, len(images)) if n_refused else ""),
        separation=_separation({s: each.score for s, each in scored.items()}, kinds),
    )


def _score(detector: Detector, test: EvaluatedRecords, i: int) -> AnomalyScore:
    facts = test.facts[i]
    if not _knows_plane(detector.normative, facts):
        return not_scored(f"there are no normals of plane {facts.plane}")
    statistics, features = test.image_statistics[i], test.predicted[i].features
    return detector.score(statistics, features, age=facts.ga_weeks, plane=facts.plane)


def _separation(scores: Mapping[str, float], kinds: Mapping[str, str]) -> AurocResult | None:
    """Area under the ROC curve of all anomalies together and of each kind, with a bootstrap interval by subject."""
    found = {kinds[subject] for subject in scores}
    if len(found) < 2 or NO_ANOMALY not in found:
        return None
    area, low, high = auroc_of_kind(scores, kinds)
    named = {kind: auroc_of_kind(scores, kinds, kind)[0] for kind in sorted(found - {NO_ANOMALY})}
    return AurocResult(area, low, high, named)


def auroc_of_kind(scores: Mapping[str, float], kinds: Mapping[str, str], kind: str = "") -> tuple[float, float, float]:
    """AUROC of a kind of anomaly, or of all, against the normal subjects, with its interval; NaN is left out."""
    subjects = [
        s for s, score in scores.items() if not math.isnan(score) and kinds[s] in (NO_ANOMALY, kind or kinds[s])
    ]
    values, ill = ([of[subject] for subject in subjects] for of in (scores, kinds))
    return auroc(np.array(values, float), np.array(ill) != NO_ANOMALY, subjects)
