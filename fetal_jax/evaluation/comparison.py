"""Every pair of runs and every class: intervals, paired tests, and what this test set could have shown."""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np

from fetal_jax.core import config as configs
from fetal_jax.core.types import UserError
from fetal_jax.evaluation.runs import Run
from fetal_jax.metrics.aggregate import mean_of_defined
from fetal_jax.metrics.registry import higher_is_better
from fetal_jax.statistics.bootstrap import mean_interval, subject_means
from fetal_jax.statistics.paired import Paired, holm, paired
from fetal_jax.statistics.power import smallest_gain
from fetal_jax.statistics.reliability import icc_2_1

ALPHA = 0.05
FEW_SUBJECTS = 30
MEAN = "all structures of an image"


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """Numbers of images that are in no number of a row, by the reason; each is counted once."""

    absent: int  # from the reference and from both predictions
    false_positive: tuple[int, int]  # absent from the reference, found by a alone, by b alone
    undefined: int  # for another reason: of a length in millimetres, no pixel size is known


@dataclasses.dataclass(frozen=True)
class Row:
    """Two runs and one class."""

    label: str  # the class, or MEAN
    result: Paired
    interval_a: tuple[float, float]  # of the mean of a, by bootstrap of the subjects
    interval_b: tuple[float, float]
    holm_p: float  # Wilcoxon's p corrected for the pairs of runs
    smallest_gain: float  # that a paired t test here would show with a power of 80 %
    verdict: str
    differences: np.ndarray  # b - a [subjects]
    left_out: LeftOut


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two runs by label, and one row per class; differences are b - a."""

    a: str
    b: str
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True)
class Agreement:
    """ICC(2,1) of one class between runs that differ in nothing but their seed."""

    runs: tuple[str, ...]
    seeds: tuple[str, ...]
    label: str  # the class, or MEAN
    icc: float
    low: float
    high: float
    n: int  # subjects


@dataclasses.dataclass(frozen=True)
class Comparison:
    """All pairs of runs, the first run with the others first."""

    metric: str
    runs: tuple[Run, ...]
    classes: tuple[str, ...]  # that all runs have
    pairs: tuple[Pair, ...]
    agreements: tuple[Agreement, ...]
    warnings: tuple[str, ...]

    @property
    def n_images(self) -> int:
        return len(self.runs[0].names)

    @property
    def n_subjects(self) -> int:
        return len(set(self.runs[0].subjects))


def compare_runs(runs: Sequence[Run], metric: str) -> Comparison:
    """The comparison of runs of the same test images. Raises UserError if no class is common to all."""
    classes = tuple(c for c in runs[0].classes if all(c in run.classes for run in runs))
    if not classes:
        listed = "; ".join(f"{run.label}: {', '.join(run.classes)}" for run in runs)
        raise UserError(f"the runs have no class in common ({listed}): compare runs of the same structures")
    values = [_with_mean(run.of(classes)) for run in runs]
    dice = [_with_mean(run.dice_of(classes)) for run in runs]
    labels = (MEAN, *classes) if len(classes) > 1 else classes
    pairs = _pairs(runs, values, dice, labels, metric)
    agreements = tuple(_agreements(runs, values, labels))
    return Comparison(metric, tuple(runs), classes, pairs, agreements, tuple(_warnings(runs, values, classes)))


def _with_mean(values: np.ndarray) -> np.ndarray:
    """[images classes] with the mean over each image's defined classes before them, if there are several."""
    if values.shape[1] == 1:
        return values
    return np.concatenate([mean_of_defined(values, axis=1)[:, None], values], 1)


def _pairs(
    runs: Sequence[Run],
    values: Sequence[np.ndarray],
    dice: Sequence[np.ndarray],
    labels: Sequence[str],
    metric: str,
) -> tuple[Pair, ...]:
    compared, subjects = list(itertools.combinations(range(len(runs)), 2)), runs[0].subjects
    rows: dict[tuple[int, int], list[Row]] = {pair: [] for pair in compared}
    for c, label in enumerate(labels):
        results = [paired(values[a][:, c], values[b][:, c], subjects) for a, b in compared]
        corrected = holm([result.wilcoxon_p for result in results])
        for (a, b), result, p in zip(compared, results, corrected, strict=True):
            verdict = result.verdict(
                ALPHA,
                p=p,
                comparisons=sum(r.n > 0 for r in results),
                names=(runs[a].label, runs[b].label),
                higher_is_better=higher_is_better(metric),
            )
            one, other = values[a][:, c], values[b][:, c]
            left_out = _left_out(one, other, dice[a][:, c], dice[b][:, c])
            rows[a, b].append(_row(label, result, one, other, subjects, p, verdict, left_out))
    return tuple(Pair(runs[a].label, runs[b].label, tuple(rows[a, b])) for a, b in compared)


def _row(
    label: str,
    result: Paired,
    a: np.ndarray,
    b: np.ndarray,
    subjects: Sequence[str],
    holm_p: float,
    verdict: str,
    left_out: LeftOut,
) -> Row:
    whole = ~np.isnan(a) & ~np.isnan(b)
    names, means = subject_means(
        np.stack([a, b], 1)[whole], [s for s, keep in zip(subjects, whole, strict=True) if keep]
    )
    return Row(
        label=label,
        result=result,
        interval_a=mean_interval(means[:, 0], names)[1:],
        interval_b=mean_interval(means[:, 1], names)[1:],
        holm_p=holm_p,
        smallest_gain=smallest_gain(result.sd, result.n) if result.n_zeros < result.n else math.nan,
        verdict=verdict,
        differences=means[:, 1] - means[:, 0],
        left_out=left_out,
    )


def _left_out(a: np.ndarray, b: np.ndarray, dice_a: np.ndarray, dice_b: np.ndarray) -> LeftOut:
    """Dice is undefined only where a class is in neither outline: then a run that has one has a false positive."""
    out = np.isnan(a) | np.isnan(b)
    none_a, none_b = np.isnan(dice_a), np.isnan(dice_b)
    return LeftOut(
        absent=int((out & none_a & none_b).sum()),
        false_positive=(int((out & none_b & ~none_a).sum()), int((out & none_a & ~none_b).sum())),
        undefined=int((out & ~none_a & ~none_b).sum()),
    )


def _agreements(runs: Sequence[Run], values: Sequence[np.ndarray], labels: Sequence[str]):
    """Of each group of runs whose configs differ only in `seed`."""
    groups: list[list[int]] = []
    for i, run in enumerate(runs):
        for group in groups:
            if all(configs.differences(runs[j].config, run.config) == ["seed"] for j in group):
                group.append(i)
                break
        else:
            groups.append([i])
    for group in (g for g in groups if len(g) > 1):
        for c, label in enumerate(labels):
            _, ratings = subject_means(np.stack([values[i][:, c] for i in group], 1), runs[0].subjects)
            yield Agreement(
                tuple(runs[i].label for i in group),
                tuple(runs[i].seed for i in group),
                label,
                *icc_2_1(ratings),
                n=int((~np.isnan(ratings).any(1)).sum()),
            )


def _warnings(runs: Sequence[Run], values: Sequence[np.ndarray], classes: Sequence[str]):
    n = len(set(runs[0].subjects))
    if n < FEW_SUBJECTS:
        yield f"Only {n} test subjects: a small gain cannot be shown, see the smallest gain of each row."
    for a, b in itertools.combinations(range(len(runs)), 2):
        if np.array_equal(values[a], values[b], equal_nan=True) and not np.isnan(values[a]).all():
            yield f"{runs[a].label} and {runs[b].label} have the same scores: is one a copy of the other?"
    for run in runs:
        missing = [name for name in run.classes if name not in classes]
        if missing:
            yield f"Not compared, as not every run has it: {', '.join(missing)} of {run.label}."
    for run in runs[1:]:
        if run.splits.hash != runs[0].splits.hash:
            yield f"{run.label} has the test images of {runs[0].label} but another split: it trained on other images."
