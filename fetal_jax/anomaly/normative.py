"""NormativeModel model: the features of normal brains by gestational age, and an anomaly score without a reference.

Fitted on a reference cohort, the vectors of normal images (`features.describe` of their reference masks); scores the
vector of any predicted mask. A high score says that something is unlike the cohort, not that a patient is ill: an error
looks the same.
"""

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from fetal_jax.anomaly.plane import FEWEST, SEEN, Plane, Vector
from fetal_jax.core.types import UserError

UNUSUAL = 2.0  # SDs from which a deviation is worth a word
FEWEST_SUBJECTS = 3  # of each plane
AGE, HEAD_SIZE, NOTHING = "ga_weeks", "hc_mm", "none"


@dataclasses.dataclass(frozen=True)
class AnomalyScore:
    """How abnormal an image is, or a subject."""

    score: float  # the largest |z|; NaN where nothing could be scored
    p_value: float  # the share of the cohort, this one counted in, that scores as high (conformal)
    plane: str  # of the reference cohort that it was compared to; "" of a subject
    most_deviant: str  # a feature's name; "" where nothing could be scored
    z: dict[str, float]  # SDs from the expected value by feature; NaN where undefined
    words: str

    @property
    def n_undefined(self) -> int:
        return sum(math.isnan(z) for z in self.z.values())


@dataclasses.dataclass(frozen=True)
class NormativeModel:
    """A fitted model. Data only: `to_dict` gives what JSON can hold."""

    covariate: str  # of AGE, HEAD_SIZE, NOTHING
    low: float  # the range of the covariate in the reference cohort
    high: float
    planes: dict[str, Plane]
    null: tuple[float, ...]  # scores of normal images, each left out of its own fit with all of its subject
    null_subjects: tuple[float, ...]  # the same of subjects
    n_subjects: int

    @classmethod
    def fit(
        cls,
        vectors: Sequence[Vector],
        ages: Sequence[float] | None,
        subjects: Sequence[str],
        planes: Sequence[str] | None = None,
    ) -> "NormativeModel":
        """Fits a reference cohort: one vector, gestational age (weeks), subject and imaging plane per image.

        Without ages everything is by head circumference, where the vectors have `hc_mm`, else the same for all.
        `planes` tells planes apart that show other structures; none takes all images for one plane. The null scores
        are by leave-one-subject-out. Raises UserError if a plane has fewer than FEWEST images or FEWEST_SUBJECTS.
        """
        nothing = [None] * len(vectors)
        columns = (vectors, nothing if ages is None else ages, subjects, nothing if planes is None else planes)
        rows = [_Row(vector, age, subject, plane or "") for vector, age, subject, plane in zip(*columns, strict=True)]
        _check(rows)
        whole, scores = _fit(rows), []
        for subject in sorted(set(subjects)):
            others = _fit([row for row in rows if row.subject != subject])
            scores.append([others.score(row.vector, row.age, row.plane) for row in rows if row.subject == subject])
        return whole.calibrated(list(itertools.chain(*scores)), [whole.combine(found) for found in scores])

    def score(self, vector: Vector, age: float | None = None, plane: str | None = None) -> AnomalyScore:
        """The anomaly score of one image. Without a plane it is the one that usually shows what this image shows.

        Beyond the ages of the cohort curves go on with growing uncertainty, and the words say so. Raises UserError if
        the model is by age and none is given, or does not know the plane.
        """
        self._check_planes([] if plane is None else [plane])
        plane = max(self.planes, key=lambda name: self.planes[name].likelihood(vector)) if plane is None else plane
        if self.covariate == AGE and (age is None or not math.isfinite(age)):
            raise UserError("ga_weeks is missing: this normative model is by gestational age, so give it in weeks")
        covariate, note = _covariate(self.covariate, vector, age), ""
        if math.isnan(covariate):
            note = f"; {self.covariate} could not be measured"
        elif not self.low <= covariate <= self.high:
            note = f"; {self.covariate} {covariate:.1f} is not in the reference cohort's {self.low:.1f}-{self.high:.1f}"
        return _judge(self.planes[plane].deviations(vector, self._scaled(covariate)), plane, self.null, note)

    def combine(self, scores: Sequence[AnomalyScore]) -> AnomalyScore:
        """The score of a subject of several images, of any planes: the largest of the features' median z."""
        names = sorted({name for score in scores for name in score.z})
        z = {name: _median([score.z.get(name, math.nan) for score in scores]) for name in names}
        return _judge(z, "", self.null_subjects)

    def with_errors(
        self, predicted: Sequence[Vector], reference: Sequence[Vector], planes: Sequence[str] | None = None
    ) -> "NormativeModel":
        """The same cohort as a network sees it: each feature with the bias and spread of the network's own error.

        `predicted` and `reference` are the vectors of images that the network was not trained on, pair by pair. Medians
        of the differences, so that a few failures do not excuse the next. A feature with fewer than FEWEST pairs stays.
        The null scores are still those of references: see `calibrated`. Raises UserError for a plane that
        the cohort does not have.
        """
        planes = [""] * len(predicted) if planes is None else planes
        self._check_planes(planes)
        pairs: dict[str, list[tuple[Vector, Vector]]] = {name: [] for name in self.planes}
        for before, after, plane in zip(reference, predicted, planes, strict=True):
            pairs[plane].append((before, after))
        return dataclasses.replace(self, planes={name: p.with_errors(pairs[name]) for name, p in self.planes.items()})

    def calibrated(self, images: Sequence[AnomalyScore], subjects: Sequence[AnomalyScore]) -> "NormativeModel":
        """The same with p-values among these scores, of normal images that neither the fit nor the network has seen."""
        null, by_subject = (tuple(sorted(s.score for s in scores if s.z)) for scores in (images, subjects))
        return dataclasses.replace(self, null=null, null_subjects=by_subject)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NormativeModel":
        planes = {name: Plane.from_dict(plane) for name, plane in values["planes"].items()}
        null, by_subject = tuple(values["null"]), tuple(values["null_subjects"])
        return cls(**{**values, "planes": planes, "null": null, "null_subjects": by_subject})

    def _check_planes(self, planes: Sequence[str]) -> None:
        if unknown := sorted(set(planes) - set(self.planes)):
            raise UserError(
                f"plane {unknown[0]!r} is unknown to the reference cohort: choose from {', '.join(self.planes)}"
            )

    def _scaled(self, covariate: float) -> float:
        """The covariate, scaled to -1 to 1 in the cohort's range; NaN for NaN."""
        middle, half = (self.low + self.high) / 2, (self.high - self.low) / 2
        return (covariate - middle) / half if half else 0.0 * covariate


def not_scored(reason: str) -> AnomalyScore:
    """No score, and why."""
    return AnomalyScore(math.nan, math.nan, "", "", {}, f"not scored: {reason}")


def in_words(name: str, z: float, seen: bool = True) -> str:
    """`lv.thickness`, 6.2 -> "thickness of lv is 6.2 SD above normal". `seen` is whether its structure is."""
    structure, dot, what = name.rpartition(".")
    if f".{what}" == SEEN:
        return f"{structure} is {'seen' if z > 0 else 'not seen'}, unlike in normal images of this plane"
    if what == "size" and not seen:
        return f"{structure} is not seen ({abs(z):.1f} SD)"
    return f"{f'{what} of {structure}' if dot else name} is {abs(z):.1f} SD {'above' if z > 0 else 'below'} normal"


def _judge(z: dict[str, float], plane: str, null: Sequence[float], note: str = "") -> AnomalyScore:
    """The score of deviations by feature."""
    defined = {name: abs(value) for name, value in z.items() if not math.isnan(value)}
    if not defined:
        return not_scored("nothing in this image can be compared to the reference cohort" + note)
    worst = max(defined, key=lambda name: defined[name])
    p_value = (1 + sum(other >= defined[worst] for other in null)) / (1 + len(null))
    words = in_words(worst, z[worst], seen=z.get(worst.rpartition(".")[0] + SEEN, 0.0) >= 0)
    if defined[worst] < UNUSUAL:
        words = "nothing unusual" + ("" if worst.endswith(SEEN) else f", most of all {words}")
    return AnomalyScore(defined[worst], p_value, plane, worst, z, words + note)


def _median(values: Sequence[float]) -> float:
    known = [value for value in values if not math.isnan(value)]
    return float(np.median(known)) if known else math.nan


class _Row(NamedTuple):
    """A normal image."""

    vector: Vector
    age: float | None
    subject: str
    plane: str


def _check(rows: Sequence[_Row]) -> None:
    for plane in sorted({row.plane for row in rows}) or [""]:
        subjects = [row.subject for row in rows if row.plane == plane]
        if len(subjects) < FEWEST or len(set(subjects)) < FEWEST_SUBJECTS:
            raise UserError(
                f"{len(subjects)} normal images of {len(set(subjects))} subjects {f'in plane {plane} ' * bool(plane)}"
                f"are too few for a normative model: give at least {FEWEST} of {FEWEST_SUBJECTS}"
            )


def _fit(rows: Sequence[_Row]) -> NormativeModel:
    """The model of these images, without null scores."""
    sized = any(math.isfinite(row.vector.get(HEAD_SIZE, math.nan)) for row in rows)
    kind = AGE if all(row.age is not None for row in rows) else HEAD_SIZE if sized else NOTHING
    values = [_covariate(kind, row.vector, row.age) for row in rows]
    finite = [value for value in values if math.isfinite(value)]
    model = NormativeModel(kind, min(finite), max(finite), {}, (), (), len({row.subject for row in rows}))
    of_plane = defaultdict(list)
    for row, value in zip(rows, values, strict=True):
        of_plane[row.plane].append((row.vector, model._scaled(value), row.subject))
    planes = {plane: Plane.fit(*zip(*of_plane[plane], strict=True), ignore=kind) for plane in sorted(of_plane)}
    return dataclasses.replace(model, planes=planes)


def _covariate(kind: str, vector: Vector, age: float | None) -> float:
    if kind == AGE:
        return math.nan if age is None else float(age)
    return float(vector.get(HEAD_SIZE, math.nan)) if kind == HEAD_SIZE else 0.0
