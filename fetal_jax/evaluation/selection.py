"""Model selection on validation images: which test-time augmentation and which post-processing, by a paired test.

A candidate is taken only where it is shown to be better. In SS_CASE_UNet's own table test-time augmentation makes the
network worse (87.65 to 85.74 % Dice).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from fetal_jax.evaluation.evaluator import Clean
from fetal_jax.evaluation.scores import EvaluationData, Scored, count_labels, iter_predictions, score, stack
from fetal_jax.inference.postprocessing import postprocess, recipe, recipes
from fetal_jax.inference.predictor import AUTO
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.inference.tta import TTA_TRANSFORMS, tta_transforms
from fetal_jax.metrics.overlap import Counts
from fetal_jax.statistics.paired import Paired, holm, p_in_words, paired

NONE = "none"
ABSENT = 1.0  # Dice of a structure that is rightly not found: else removing a false positive would gain nothing


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One that was tried. Differences are its scores minus the baseline's, by subject."""

    name: str
    mean: float  # over images with a defined score
    n_undefined: int  # images without one
    n: int  # subjects with a defined pair
    difference: float
    p: float  # Wilcoxon's signed-rank test, after Holm for the candidates that differ; NaN where none does


@dataclasses.dataclass(frozen=True)
class Selection:
    """What was selected, and why. The baseline is the first of the candidates."""

    selected: str
    baseline: str
    candidates: tuple[Candidate, ...]
    reason: str


def select(
    scores: Mapping[str, Float[np.ndarray, " images"] | Sequence[float]],
    subjects: Sequence[str],
    baseline: str,
    alpha: float = 0.05,
) -> Selection:
    """Keeps the baseline unless another is better: of those that are, the one with the largest mean gain.

    Args:
      scores: by candidate and image of the validation part, higher is better; NaN is undefined.
      subjects: by image; they are what is paired, not their images.
      baseline: one of the candidates.
      alpha: the chance to leave the baseline for nothing, over all candidates together (Holm 1979).

    Raises ValueError if the baseline is not among the scores or they are not equally long.
    """
    if baseline not in scores:
        raise ValueError(f"the baseline {baseline!r} is none of {', '.join(scores)}")
    values = {name: np.asarray(given, float) for name, given in scores.items()}
    others = [name for name in values if name != baseline]
    tests = {name: paired(values[baseline], values[name], subjects) for name in others}
    corrected = dict(zip(others, holm([_p(test) for test in tests.values()]), strict=True))
    better = [name for name in others if corrected[name] < alpha and _gains(tests[name])]
    selected = max(better, key=lambda name: tests[name].difference, default=baseline)
    table = [_candidate(name, values[name], tests[name], corrected[name]) for name in others]
    first = Candidate(baseline, *_mean_of_defined(values[baseline]), n=0, difference=0.0, p=math.nan)
    return Selection(selected, baseline, (first, *table), _reason(selected, baseline, tests, corrected, alpha))


def _p(test: Paired) -> float:
    """Undefined where no score differs: such a test can show nothing, and counts for nothing (Tarone 1990)."""
    return test.wilcoxon_p if test.n_zeros < test.n else math.nan


def _gains(test: Paired) -> bool:
    """In the mean and in most ranks: a few outliers do not decide."""
    return test.difference > 0 and test.rank_effect > 0


def _candidate(name: str, values: np.ndarray, test: Paired, p: float) -> Candidate:
    return Candidate(name, *_mean_of_defined(values), n=test.n, difference=test.difference, p=float(p))


def _mean_of_defined(values: np.ndarray) -> tuple[float, int]:
    """The mean of what is defined, and the number of what is not."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else math.nan, len(values) - len(defined)


def _reason(
    selected: str, baseline: str, tests: Mapping[str, Paired], corrected: Mapping[str, float], alpha: float
) -> str:
    if not tests:
        return f"{baseline}: nothing else was tried"
    if selected != baseline:
        test = tests[selected]
        p = p_in_words(corrected[selected])
        return f"{selected}: better than {baseline} by {test.difference:.4f} on {test.n} validation subjects ({p})"
    differing = [name for name in tests if not math.isnan(corrected[name])]
    if not differing:
        return f"{baseline}: nothing that was tried changes a score"
    n = max(tests[name].n for name in differing)
    # Subjects without a difference do not count in Wilcoxon's test: these are all that there could be.
    if 2.0 ** (1 - n) * len(differing) >= alpha:
        what = f"one of {len(differing)} candidates" if len(differing) > 1 else differing[0]
        return f"{baseline}: {n} validation subjects are too few to show that {what} is better (p < {alpha:g})"
    best = max(differing, key=lambda name: tests[name].difference)
    test, p = tests[best], p_in_words(corrected[best])
    return f"{baseline}: no candidate is shown to be better (largest gain {best}, {test.difference:+.4f}, {p})"


@dataclasses.dataclass(frozen=True)
class InferenceSettings:
    """How predictions are made; `selections` holds what was compared, by "tta" and "postprocess", if not given."""

    tta: str = NONE
    postprocess: str = NONE
    selections: Mapping[str, Selection] = dataclasses.field(default_factory=dict)

    def cleaner(self, classes: Sequence[str], dims: int) -> Clean | None:
        """The post-processing of label maps; None where there is none."""
        steps = recipe(self.postprocess, classes, dims)
        return (lambda labels: postprocess(labels, steps)) if steps else None


def check_names(data: EvaluationData, *, tta: str, postprocess: str) -> None:
    """Raises UserError if a name is unknown, or not for this kind of data."""
    if tta != AUTO:
        tta_transforms(tta, data.dims)
    if postprocess != AUTO:
        recipe(postprocess, data.classes, data.dims)


def select_inference(data: EvaluationData, segmenter: Segmenter, *, tta: str, postprocess: str) -> InferenceSettings:
    """The test-time augmentation and the post-processing of these names; AUTO is selected on the validation images.

    First the augmentation, then the post-processing of its predictions, each by a paired test against none.
    """
    check_names(data, tta=tta, postprocess=postprocess)
    selections = {}
    if tta == AUTO:
        selections["tta"] = _select(data, lambda: _dice_by_tta(data, segmenter))
        tta = selections["tta"].selected
    if postprocess == AUTO:
        selections["postprocess"] = _select(data, lambda: _dice_by_recipe(data, segmenter.with_tta(tta)))
        postprocess = selections["postprocess"].selected
    return InferenceSettings(tta, postprocess, selections)


def _select(data: EvaluationData, dice: Callable[[], Mapping[str, np.ndarray]]) -> Selection:
    if not data.parts["validation"]:
        return Selection(NONE, NONE, (), "none: there are no validation images to choose on")
    return select(dice(), data.subjects("validation"), NONE)


def _dice_by_tta(data: EvaluationData, segmenter: Segmenter) -> dict[str, np.ndarray]:
    """The Dice of every validation image under each augmentation."""
    return {name: _validate(data, segmenter.with_tta(name)).dice(ABSENT) for name in TTA_TRANSFORMS[data.dims]}


def _validate(data: EvaluationData, segmenter: Segmenter) -> Scored:
    return score(segmenter.probabilities, data.records("validation"), data.classes)


def _dice_by_recipe(data: EvaluationData, segmenter: Segmenter) -> dict[str, np.ndarray]:
    """The Dice of every validation image after each recipe; each image is predicted once."""
    every = recipes(data.classes, data.dims)
    names: list[str] = []
    subjects: list[str] = []
    counts: dict[str, list[Counts]] = {name: [] for name in every}
    for record, probs in iter_predictions(segmenter.probabilities, data.records("validation"), data.classes):
        names.append(record.name)
        subjects.append(record.subject)
        labels = probs.argmax(-1).astype(np.uint8)
        for name, steps in every.items():
            counts[name].append(count_labels(postprocess(labels, steps), record.labels, len(data.classes)))
    return {
        name: Scored(tuple(names), tuple(subjects), data.foreground, stack(of_recipe)).dice(ABSENT)
        for name, of_recipe in counts.items()
    }
