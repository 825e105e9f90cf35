"""How well a score tells two groups of subjects apart: the area under the ROC curve, with its bootstrap interval."""

import numpy as np
from jaxtyping import Bool, Float, Int

from fetal_jax.statistics.bootstrap import interval, multiplicities


def auroc(
    scores: Float[np.ndarray, " subjects"], positive: Bool[np.ndarray, " subjects"], subjects: list[str]
) -> tuple[float, float, float]:
    """The area, and its 95 % interval (low, high) by subject; NaN where one of the groups is empty."""
    low, high = interval(areas(scores, positive, multiplicities(subjects)))
    (area,) = areas(scores, positive, np.ones((1, len(scores)), int))
    return float(area), float(low), float(high)


def areas(
    scores: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], times: Int[np.ndarray, "draws n"]
) -> Float[np.ndarray, " draws"]:
    """Of draws that take each score so many times: the chance that a positive one is above a negative one.

    Mann and Whitney's statistic (1947), ties by half, of all draws at once: a curve for each takes seconds. NaN where a
    draw lacks one of the groups.
    """
    above, below = scores[positive][:, None], scores[~positive]
    wins = (above > below) + 0.5 * (above == below)
    of_positive, of_negative = times[:, positive].astype(float), times[:, ~positive].astype(float)
    pairs = of_positive.sum(1) * of_negative.sum(1)
    won = (of_positive @ wins * of_negative).sum(1)
    return np.where(pairs == 0, np.nan, won / np.maximum(pairs, 1))
