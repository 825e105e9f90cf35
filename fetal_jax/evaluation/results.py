"""Typed results of an evaluation: one frozen dataclass per section of the report, and their JSON.

They are made once by `fetal_jax.evaluate`. `EvaluationResult.summary` and `.details` are `summary.json` and
`details.json`; the report renders the same dataclasses. In them NaN is undefined; in JSON that is null.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fetal_jax.evaluation.scores import Intervals, Scores, ScoreTable
from fetal_jax.evaluation.selection import Selection
from fetal_jax.evaluation.uncertainty import RiskCoverageCurve


def to_json(value: Any) -> Any:
    """Data that JSON can hold: dataclasses as dictionaries, arrays and tuples as lists, NaN and infinity as None."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: to_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(each) for each in value]
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclasses.dataclass(frozen=True)
class OverallResult:
    """All pixels of all images as one confusion matrix: see metrics.aggregate.overall."""

    pixel_accuracy: float
    mean_iou: float | None
    mean_iou_foreground: float | None
    foreground_iou: float | None
    frequency_weighted_iou: float
    macro: Mapping[str, float | None]
    micro: Mapping[str, float | None]
    classes: ScoreTable  # {class: {"share" | metric: value}}, the background among them
    n_defined: int


@dataclasses.dataclass(frozen=True)
class ScoresResult:
    """Scores of the test images: of each stage, and of the last stage's network with what was added to it."""

    foreground: tuple[str, ...]
    stages: Mapping[str, Scores]  # each stage's network by itself, the last one last
    intervals: Intervals  # of the last stage
    overall: OverallResult  # of the last stage
    tta: str = "none"
    postprocess: str = "none"
    ensemble: tuple[str, ...] = ()  # the other runs that were averaged with
    with_tta: Scores | None = None
    with_ensemble: Scores | None = None
    postprocessed: Scores | None = None
    before_labelling: str | None = None  # the stage before the first pseudo-labels, if a later one has scores
    pool_before_labelling: bool = False  # whether that stage drew on the unlabelled images
    kept_pseudo_labels: bool | None = None  # whether any were; None: nothing was labelled
    spacing_note: str = ""  # what a reader must know of distances

    @property
    def final_stage(self) -> str:
        return list(self.stages)[-1]

    @property
    def test(self) -> Scores:
        """The last stage's network by itself."""
        return self.stages[self.final_stage]


class PixelCurve(NamedTuple):
    """ROC or precision-recall curve of one class; no points and an area of NaN where it is undefined."""

    x: tuple[float, ...]
    y: tuple[float, ...]
    auc: float


@dataclasses.dataclass(frozen=True)
class ClassCurves:
    roc: PixelCurve
    pr: PixelCurve


@dataclasses.dataclass(frozen=True)
class ConfusionResult:
    classes: tuple[str, ...]  # the background first
    pixels: tuple[tuple[int, ...], ...]  # rows by reference, columns by prediction


@dataclasses.dataclass(frozen=True)
class ReliabilityBin:
    confidence: float  # mean; NaN in an empty bin
    accuracy: float
    share: float  # of all pixels


@dataclasses.dataclass(frozen=True)
class CalibrationResult:
    ece: float
    brier: float
    bins: tuple[ReliabilityBin, ...]


@dataclasses.dataclass(frozen=True)
class PixelResult:
    """Curves, confusion and calibration, each over all pixels of all test images."""

    n_images: int
    curves: Mapping[str, ClassCurves]  # by foreground class
    confusion: ConfusionResult
    calibration: CalibrationResult


@dataclasses.dataclass(frozen=True)
class GainResult:
    """Paired test of the Dice of two stages on the same test images, by subject."""

    before: str  # stage
    after: str
    n: int  # subjects
    n_dropped: int
    difference: float
    low: float
    high: float
    wilcoxon_p: float
    permutation_p: float
    effect: float
    smallest_gain: float
    verdict: str


@dataclasses.dataclass(frozen=True)
class PairedTestsResult:
    """Every paired test of a run: what the last stages gained, and what was selected on validation."""

    gain: GainResult | None
    selections: Mapping[str, Selection]  # by "tta" and "postprocess"


@dataclasses.dataclass(frozen=True)
class UncertaintyResult:
    """How well the network's own probabilities tell which images it fails on."""

    curve: RiskCoverageCurve
    correlation: float  # Spearman's, of expected and true Dice

    def to_json(self) -> dict[str, Any]:
        curve = self.curve
        values = {"coverage": curve.coverage, "risk": curve.risk, "area": curve.aurc, "random": curve.random}
        values |= {"ideal": curve.oracle, "gain": curve.normalised_gain, "n_undefined": curve.n_undefined}
        return to_json(values | {"correlation": self.correlation})


@dataclasses.dataclass(frozen=True)
class MeasureResult:
    """Agreement of one size of predictions and references, by subject (Bland & Altman), and its interval."""

    title: str
    unit: str
    n: int  # subjects
    n_missing: int  # images whose reference has the size and whose prediction has not
    bias: float
    sd: float
    low: float  # limits of agreement
    high: float
    mad: float
    reference: tuple[float, ...]  # one value per subject
    difference: tuple[float, ...]
    half_width: float  # of the 90 % interval; infinite or NaN where there is none
    n_calibration: int
    coverage: float  # share of test subjects inside of it


class MeanSdN(NamedTuple):
    mean: float
    sd: float
    n: int  # images


@dataclasses.dataclass(frozen=True)
class BiometryResult:
    measures: Mapping[str, MeasureResult]  # by the size's key
    heads: Mapping[str, MeanSdN]  # the measures of the HC18 challenge
    note: str


@dataclasses.dataclass(frozen=True)
class DeviantSubject:
    name: str
    subject: str
    score: float
    words: str


@dataclasses.dataclass(frozen=True)
class AurocResult:
    """Anomalous against normal test subjects."""

    auroc: float
    low: float
    high: float
    kinds: Mapping[str, float]  # by kind of anomaly


@dataclasses.dataclass(frozen=True)
class AnomalyResult:
    """Anomaly scores of the test subjects."""

    normal: tuple[float, ...]
    anomalous: tuple[float, ...]
    most: tuple[DeviantSubject, ...]  # the most deviant first
    n_refused: int  # images that were not scored
    n_images: int
    note: str
    separation: AurocResult | None  # None where no anomaly, or no normal subject, is known

    def to_json(self) -> dict[str, Any]:
        values = {"normal": self.normal, "anomalous": self.anomalous, "most": self.most, "n_refused": self.n_refused}
        values |= {"n_images": self.n_images, "note": self.note}
        return to_json(values) | ({"auroc": None} if self.separation is None else to_json(self.separation))


@dataclasses.dataclass(frozen=True)
class DiceInterval:
    """A mean Dice with its 95 % bootstrap interval by subject."""

    dice: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class CorruptionResult:
    """The Dice under one corruption at one strength, and the paired drop to the images as they are."""

    strength: float
    unit: str
    dice: float
    low: float
    high: float
    drop: float
    drop_low: float
    drop_high: float
    p: float  # Wilcoxon's, by subject, after Holm for all corruptions and strengths
    n: int  # images with a defined pair


@dataclasses.dataclass(frozen=True)
class SeedsRow:
    """The spread over runs of their mean Dice, and ICC(2,1) of the runs' Dice of the same subjects."""

    strength: float
    mean: float
    sd: float
    icc: float
    icc_low: float
    icc_high: float


@dataclasses.dataclass(frozen=True)
class SeedsResult:
    """Runs that differ in nothing but their seed."""

    workdirs: tuple[str, ...]
    clean: SeedsRow
    perturbations: Mapping[str, tuple[SeedsRow, ...]]  # by corruption


@dataclasses.dataclass(frozen=True)
class RobustnessResult:
    """The Dice of test images as they are and corrupted: `robustness.json`."""

    n_images: int
    n_subjects: int
    smallest_p: float  # that so many subjects can show
    clean: DiceInterval
    perturbations: Mapping[str, tuple[CorruptionResult, ...]]  # by corruption, from weak to strong
    seeds: SeedsResult | None = None

    def to_json(self) -> dict[str, Any]:
        fields = to_json(self)
        if self.seeds is None:
            del fields["seeds"]
        return fields


@dataclasses.dataclass(frozen=True)
class EvaluationResult:
    """Everything that an evaluation found."""

    dataset: str
    splits_hash: str
    classes: tuple[str, ...]
    model: str
    n_parameters: int
    initial_weights: str  # of the encoder: whose they were, or "random"
    seconds: Mapping[str, float]  # of training, by stage
    warnings: tuple[str, ...]
    scores: ScoresResult
    tests: PairedTestsResult
    pixels: PixelResult
    uncertainty: UncertaintyResult | None
    biometry: BiometryResult
    anomaly: AnomalyResult | None
    robustness: RobustnessResult | None  # of `fetal-jax robustness`, where it has run

    def summary(self) -> dict[str, Any]:
        """What `summary.json` holds: its keys are a contract."""
        scores = self.scores
        stages = {name: to_json(of_stage) for name, of_stage in scores.stages.items()}
        added = {
            "test_ensemble": scores.with_ensemble,
            "test_tta": scores.with_tta,
            "test_cleaned": scores.postprocessed,
        }
        return {
            "dataset": self.dataset,
            "splits_hash": self.splits_hash,
            "classes": list(self.classes),
            "model": self.model,
            "n_parameters": self.n_parameters,
            "initial_weights": self.initial_weights,
            "stages": stages,
            "test": stages[scores.final_stage],
            "final_stage": scores.final_stage,
            "tta": scores.tta,
            "postprocess": scores.postprocess,
            "choices": {kind: selection.reason for kind, selection in self.tests.selections.items()},
            "ensemble": list(scores.ensemble),
            "intervals": to_json(scores.intervals),
            "seconds": dict(self.seconds),
            **{key: to_json(value) for key, value in added.items() if value},
            "warnings": list(self.warnings),
        }

    def details(self) -> dict[str, Any]:
        """What `details.json` holds: the numbers that the report draws beside the scores."""
        selections = {kind: _selection_json(selection) for kind, selection in self.tests.selections.items()}
        found = {
            "overall": to_json(self.scores.overall),
            "curves": {name: _curves_json(curves) for name, curves in self.pixels.curves.items()},
            "confusion": to_json(self.pixels.confusion),
            "calibration": to_json(self.pixels.calibration),
            "choices": selections,
            "uncertainty": self.uncertainty.to_json() if self.uncertainty else None,
            "biometry": to_json(self.biometry),
            "anomaly": self.anomaly.to_json() if self.anomaly else None,
        }
        if self.tests.gain:
            found["gain"] = to_json(self.tests.gain)
        if self.scores.spacing_note:
            found["mm_note"] = self.scores.spacing_note
        if self.robustness:
            found["robustness"] = self.robustness.to_json()
        return found


def _curves_json(curves: ClassCurves) -> dict[str, Any]:
    return {kind: to_json(getattr(curves, kind)._asdict()) for kind in ("roc", "pr")}


def _selection_json(selection: Selection) -> dict[str, Any]:
    rows = [{"name": c.name, "mean": c.mean, "difference": c.difference, "p": c.p} for c in selection.candidates]
    return to_json({"chosen": selection.selected, "reason": selection.reason, "candidates": rows})
