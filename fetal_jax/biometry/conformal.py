"""Split-conformal intervals: how far off a measurement may be, with a coverage that holds for a finite sample.

Lei et al., J Am Stat Assoc 2018;113:1094-1111: if the errors of n subjects on a set that no choice was made on are
exchangeable with that of a new one, the ceil((n + 1) level)-th smallest of them is not exceeded with at least that
probability, whatever the model and the distribution.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Real


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Half the width of the interval; infinite, with the reason, where too few subjects were measured."""

    half_width: float
    level: float
    n: int  # subjects
    n_missing: int  # errors that are NaN: nothing was measured, and no interval would have been given
    reason: str = ""

    def interval(self, value: float) -> tuple[float, float]:
        return value - self.half_width, value + self.half_width


def calibrate(
    errors: Sequence[float] | Real[np.ndarray, " n"], level: float = 0.9, subjects: Sequence[str] | None = None
) -> Calibration:
    """The half-width that covers a new subject with probability `level`.

    `errors` are measured minus true, in any unit, an image each. Images of one subject are not exchangeable with those
    of another, but subjects are: of each, the largest error counts. So all images of a new subject are covered at once
    with that probability, and any one of them more often. Without `subjects`, each image is one.

    Raises ValueError if `level` is not within (0, 1) or the lengths differ.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}: expected a number between 0 and 1")
    sizes = np.abs(np.asarray(errors, float))
    names = np.arange(len(sizes)) if subjects is None else np.asarray(subjects)
    if len(names) != len(sizes):
        raise ValueError(f"{len(sizes)} errors of {len(names)} subjects: expected as many")
    measured = ~np.isnan(sizes)
    worst = np.sort([sizes[measured & (names == name)].max() for name in np.unique(names[measured])])
    n, rank = len(worst), _rank(len(worst), level)
    missing = int((~measured).sum())
    if rank > n:
        return Calibration(math.inf, level, n, missing, f"{n} subjects are too few: {_least(level)} are needed")
    return Calibration(float(worst[rank - 1]), level, n, missing)


def _rank(n: int, level: float) -> int:
    """ceil((n + 1) level), proof against 0.9 being a little more than 9 / 10."""
    return math.ceil(round((n + 1) * level, 9))


def _least(level: float) -> int:
    """How many subjects a finite interval takes."""
    return math.ceil(round(level / (1 - level), 9))
