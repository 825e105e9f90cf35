"""Agreement of raters, of readings, or of networks trained with other seeds."""

import math

import numpy as np
from jaxtyping import Float
from scipy import stats


def icc_2_1(ratings: Float[np.ndarray, "subjects raters"], level: float = 0.95) -> tuple[float, float, float]:
    """ICC(2,1) with its interval (low, high): two-way random effects, absolute agreement, a single rating.

    Shrout & Fleiss 1979, Psychological Bulletin 86(2); the interval of McGraw & Wong 1996, Psychological Methods 1(1),
    Table 7, ICC(A,1). Subjects with an undefined rating (NaN) are left out. NaN with fewer than two subjects or raters,
    and where the variances that it divides by add up to nothing (all ratings equal); the interval alone is NaN where no
    subject differs from another.
    """
    ratings = np.asarray(ratings, float)
    ratings = ratings[~np.isnan(ratings).any(1)]
    n, k = ratings.shape
    if n < 2 or k < 2:
        return math.nan, math.nan, math.nan
    rows, columns, rest = _mean_squares(ratings)
    total = rows + (k - 1) * rest + k * (columns - rest) / n
    if total <= 0:
        return math.nan, math.nan, math.nan
    if rest == 0 and columns == 0:  # perfect agreement
        return 1.0, 1.0, 1.0
    icc = (rows - rest) / total
    return icc, *_interval(rows, columns, rest, n, k, icc, level)


def _mean_squares(ratings: np.ndarray) -> tuple[float, float, float]:
    """Between subjects, between raters, and what is left."""
    n, k = ratings.shape
    mean, of_rows, of_columns = ratings.mean(), ratings.mean(1, keepdims=True), ratings.mean(0, keepdims=True)
    left = ratings - of_rows - of_columns + mean
    noise = 1e-24 * np.square(ratings).mean()  # of rounding: ratings that agree leave nothing

    def clean(square):
        return float(square) if square > noise else 0.0

    return (
        clean(k * np.square(of_rows - mean).sum() / (n - 1)),
        clean(n * np.square(of_columns - mean).sum() / (k - 1)),
        clean(np.square(left).sum() / ((n - 1) * (k - 1))),
    )


def _interval(
    rows: float, columns: float, rest: float, n: int, k: int, icc: float, level: float
) -> tuple[float, float]:
    """McGraw & Wong's interval; the degrees of freedom of the raters' variance are Satterthwaite's."""
    a = k * icc / (n * (1 - icc))
    b = 1 + k * icc * (n - 1) / (n * (1 - icc))
    spread = (a * columns) ** 2 / (k - 1) + (b * rest) ** 2 / ((n - 1) * (k - 1))
    freedom = (a * columns + b * rest) ** 2 / spread if spread else 0.0
    if freedom < 1e-3:  # the quantiles of F have no number
        return math.nan, math.nan
    f_low, f_high = (stats.f.ppf(0.5 + level / 2, *pair) for pair in ((n - 1, freedom), (freedom, n - 1)))
    weighted = k * columns + (k * n - k - n) * rest
    low = n * (rows - f_low * rest) / (f_low * weighted + n * rows)
    high = n * (f_high * rows - rest) / (weighted + n * f_high * rows)
    return float(low), float(high)
