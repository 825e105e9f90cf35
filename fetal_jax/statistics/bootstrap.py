"""Bootstrap by subject (Efron & Tibshirani 1993, ch. 13): images of one subject are drawn together, never alone.

A draw is told by how often each image occurs in it. So the draws of any average are one matrix product,
`multiplicities(subjects) @ values`: of images, of subjects, or of counts that are pooled before they are divided.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

DRAWS = 2000
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class MeanInterval:
    """Means of columns with percentile intervals. NaN where nothing is defined; no interval from one subject."""

    mean: Float[np.ndarray, " k"]
    low: Float[np.ndarray, " k"]
    high: Float[np.ndarray, " k"]
    n: Int[np.ndarray, " k"]  # images that count: where the value is defined


def multiplicities(subjects: Sequence[str], n: int = DRAWS, seed: int = 0) -> Int[np.ndarray, "{n} images"]:
    """How often each image occurs in each of `n` draws, when as many subjects as there are are drawn with replacement.

    Depends on the seed and the names of the subjects, not on the order of the images.
    """
    names, index = np.unique(np.asarray(subjects, str), return_inverse=True)
    if not len(names):
        return np.zeros((n, 0), int)
    drawn = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    return drawn[:, index]


def interval(
    draws: Float[np.ndarray, " n *rest"], level: float = LEVEL
) -> tuple[Float[np.ndarray, " *rest"], Float[np.ndarray, " *rest"]]:
    """The percentile interval (low, high) over the first axis; draws that are NaN do not count. NaN where all are."""
    draws = np.asarray(draws, float)
    columns = draws.reshape(len(draws), -1)
    low, high = np.full(columns.shape[1], np.nan), np.full(columns.shape[1], np.nan)
    some = ~np.isnan(columns).all(0)
    if some.any():
        edges = (0.5 - level / 2, 0.5 + level / 2)
        low[some], high[some] = np.nanquantile(columns[:, some], edges, axis=0)
    return low.reshape(draws.shape[1:]), high.reshape(draws.shape[1:])


def mean_intervals(
    values: Float[np.ndarray, "images k"],
    subjects: Sequence[str],
    *,
    level: float = LEVEL,
    n: int = DRAWS,
    seed: int = 0,
) -> MeanInterval:
    """The mean over images of each column, with its interval. An undefined value (NaN) is in no sum and no count.

    Raises ValueError if there is not one subject an image.
    """
    values = np.asarray(values, float)
    if len(values) != len(subjects):
        raise ValueError(f"{len(values)} values of {len(subjects)} images: give the subject of every image")
    defined = ~np.isnan(values)
    weights = multiplicities(subjects, n, seed).astype(float)
    draws = _divide(weights @ np.where(defined, values, 0), weights @ defined)
    low, high = interval(draws, level)
    spread = _subjects_defined(defined, subjects) > 1  # one subject drawn again and again would show no doubt at all
    number = defined.sum(0)
    mean = _divide(np.where(defined, values, 0).sum(0), number)
    return MeanInterval(mean, np.where(spread, low, np.nan), np.where(spread, high, np.nan), number)


def mean_interval(
    values: Float[np.ndarray, " images"],
    subjects: Sequence[str],
    *,
    level: float = LEVEL,
    n: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float, float]:
    """(mean, low, high) of one value an image: see `mean_intervals`."""
    one = mean_intervals(np.asarray(values, float)[:, None], subjects, level=level, n=n, seed=seed)
    return float(one.mean[0]), float(one.low[0]), float(one.high[0])


def subject_means(
    values: Float[np.ndarray, " images *rest"], subjects: Sequence[str]
) -> tuple[tuple[str, ...], Float[np.ndarray, " subjects *rest"]]:
    """The subjects in sorted order and the mean of each one's defined values; NaN where none is defined."""
    values = np.asarray(values, float)
    names, index = np.unique(np.asarray(subjects, str), return_inverse=True)
    defined = ~np.isnan(values)
    sums, numbers = np.zeros((len(names), *values.shape[1:])), np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, index, np.where(defined, values, 0))
    np.add.at(numbers, index, defined)
    return tuple(names.tolist()), _divide(sums, numbers)


def _subjects_defined(defined: np.ndarray, subjects: Sequence[str]) -> np.ndarray:
    """How many subjects have a defined value, by column."""
    _, means = subject_means(np.where(defined, 1.0, np.nan), subjects)
    return (~np.isnan(means)).sum(0)


def _divide(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.where(below == 0, np.nan, above / np.where(below == 0, 1, below))
