"""How far the averages of a test set would move with other subjects: bootstrap intervals of all of them at once."""

from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Float

from fetal_jax.evaluation.scores import Interval, Intervals, IntervalTable, Scored
from fetal_jax.metrics.aggregate import mean_of_defined
from fetal_jax.metrics.registry import scores
from fetal_jax.statistics.bootstrap import interval, multiplicities, subject_means

Draws = Mapping[str, Float[np.ndarray, "draws classes"]]


def intervals(scored: Scored) -> Intervals:
    """95 % intervals by subject of the averages of `metrics.aggregate`; "mean" is that over the classes.

    There are none of a single subject, which drawn again and again would show no spread at all, and none of pooled
    distances: a maximum is not an average, and its bootstrap tells nothing.
    """
    values, subjects = scored.values(), scored.subjects
    alone = {m: _n_subjects(v, subjects) < 2 for m, v in values.items()}

    def table(draws: Draws) -> IntervalTable:
        return {m: _edges(d, scored.classes, alone[m]) for m, d in draws.items()}

    return Intervals(
        per_image=table({m: _means(v, subjects) for m, v in values.items()}),
        per_subject=table({m: _subject_means(v, subjects) for m, v in values.items()}),
        pooled=table(_pooled(scored)),
    )


def _means(values: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """Draws of the mean over images of each class; an undefined image is in no sum and no count."""
    weights, defined = multiplicities(subjects), ~np.isnan(values)
    number = weights @ defined
    return np.where(number == 0, np.nan, weights @ np.where(defined, values, 0) / np.maximum(number, 1))


def _subject_means(values: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    names, means = subject_means(values, subjects)
    return _means(means, names)


def _pooled(scored: Scored) -> Draws:
    weights = multiplicities(scored.subjects)
    return scores(jax.tree.map(lambda counts: weights @ counts, scored.counts))


def _n_subjects(values: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """How many have a defined value, by class."""
    return (~np.isnan(subject_means(values, subjects)[1])).sum(0)


def _edges(draws: np.ndarray, classes: Sequence[str], alone: np.ndarray) -> dict[str, Interval]:
    """The interval of each class and of their mean; none of a class that one subject has alone, and then no mean."""
    exist = ~np.isnan(draws).all(0)
    whole = ~np.isnan(draws[:, exist]).any(1)  # a draw that lost a class is of another mean
    mean = np.where(whole, mean_of_defined(draws, axis=1), np.nan)
    low, high = interval(np.column_stack([draws, mean]))
    undefined = np.isnan(low) | np.append(alone, (alone & exist).any())
    rows = zip([*classes, "mean"], undefined, low.tolist(), high.tolist(), strict=True)
    return {name: None if missing else [a, b] for name, missing, a, b in rows}
