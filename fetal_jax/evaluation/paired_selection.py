"""Choosing test-time augmentation or post-processing on validation images: by a paired test, never by hope.

In SS_CASE_UNet's own table test-time augmentation makes the network worse (87.65 to 85.74 % Dice).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from fetal_jax.statistics.paired import Paired, holm, p_in_words, paired


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
class Choice:
    """What was chosen, and why. The baseline is the first of the candidates."""

    chosen: str
    baseline: str
    candidates: tuple[Candidate, ...]
    reason: str


def choose(
    scores: Mapping[str, Float[np.ndarray, " images"] | Sequence[float]],
    subjects: Sequence[str],
    baseline: str,
    alpha: float = 0.05,
) -> Choice:
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
    chosen = max(better, key=lambda name: tests[name].difference, default=baseline)
    table = [_candidate(name, values[name], tests.get(name), corrected.get(name)) for name in (baseline, *others)]
    return Choice(chosen, baseline, tuple(table), _reason(chosen, baseline, tests, corrected, alpha))


def _p(test: Paired) -> float:
    """Undefined where no score differs: such a test can show nothing, and counts for nothing (Tarone 1990)."""
    return test.wilcoxon_p if test.n_zeros < test.n else math.nan


def _gains(test: Paired) -> bool:
    """In the mean and in most ranks: a few outliers do not decide."""
    return test.difference > 0 and test.rank_effect > 0


def _candidate(name: str, values: np.ndarray, test: Paired | None, p: float | None) -> Candidate:
    defined = values[~np.isnan(values)]
    mean = float(defined.mean()) if len(defined) else math.nan
    undefined = len(values) - len(defined)
    if test is None:
        return Candidate(name, mean, undefined, n=0, difference=0.0, p=math.nan)
    return Candidate(name, mean, undefined, test.n, test.difference, float(p))


def _reason(
    chosen: str, baseline: str, tests: Mapping[str, Paired], corrected: Mapping[str, float], alpha: float
) -> str:
    if not tests:
        return f"{baseline}: nothing else was tried"
    if chosen != baseline:
        test = tests[chosen]
        p = p_in_words(corrected[chosen])
        return f"{chosen}: better than {baseline} by {test.difference:.4f} on {test.n} validation subjects ({p})"
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
