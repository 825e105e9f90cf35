"""Expected value of one feature by age: a smooth centre and a smooth spread, fitted robustly to normal images.

The centre is a quadratic by Huber's M-estimator (Robust estimation of a location parameter, Ann Math Statist
1964;35:73-101); the spread is a line through the absolute residuals, as growth charts are made (Altman: Construction of
age-related reference centiles using absolute residuals, Stat Med 1993;12:917-924).
"""

import dataclasses
import math
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

CLIP_SD = 3.0  # residuals count as at most this many robust SD in the spread
MAD_TO_SD = 1.4826  # of a normal distribution
HUBER = 1.345  # SDs from which a residual counts less: 95 % efficiency for normal residuals
ITERATIONS = 50
LEAST_SPREAD = 0.005  # of the head, or of the centre where that is larger: a raster measures no finer


@dataclasses.dataclass(frozen=True)
class Expectation:
    """Centre and spread as polynomials of the scaled age t in [-1, 1], lowest power first."""

    centre: tuple[float, ...]
    spread: tuple[float, ...]
    least_spread: float
    uncertainty: tuple[tuple[float, ...], ...]  # covariance of the centre's coefficients
    n: int  # normal subjects that it was fitted on

    def at(self, t: float) -> tuple[float, float]:
        """Centre and spread of the cohort (one SD). No feature is below 0, also not beyond the ages of the fit."""
        centre, spread = (float(np.polynomial.polynomial.polyval(t, c)) for c in (self.centre, self.spread))
        return max(0.0, centre), max(spread, self.least_spread)

    def z(self, value: float, t: float) -> float:
        """SDs from the centre, of a new image: the centre is uncertain too, far more so beyond the ages of the fit."""
        centre, spread = self.at(t)
        powers = t ** np.arange(len(self.centre))
        return (value - centre) / math.hypot(spread, math.sqrt(powers @ np.array(self.uncertainty) @ powers))

    def with_error(self, bias: float, sd: float) -> "Expectation":
        """For a value measured with an error: the spread at every age grows as variances add."""
        low, high = (math.hypot(self.at(t)[1], sd) for t in (-1.0, 1.0))
        return dataclasses.replace(
            self,
            centre=(self.centre[0] + bias, *self.centre[1:]),
            spread=((low + high) / 2, (high - low) / 2),
            least_spread=math.hypot(self.least_spread, sd),
        )

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Expectation":
        centre, spread, uncertainty = (tuple(values[key]) for key in ("centre", "spread", "uncertainty"))
        return cls(**{**values, "centre": centre, "spread": spread, "uncertainty": tuple(map(tuple, uncertainty))})


def fit(values: Float[np.ndarray, " n"], t: Float[np.ndarray, " n"], n_subjects: int) -> Expectation:
    """The expectation of finite values at scaled ages; constant in age where there are too few different ages.

    Images of a subject are alike, so the centre is as uncertain as if each subject had one.
    """
    degree = min(2, max(0, len(np.unique(t)) // 4 - 1))
    centre = huber(values, t, degree)
    residuals = (values - np.polynomial.polynomial.polyval(t, centre)) * _freedom(n_subjects, degree + 1)
    sd = MAD_TO_SD * float(np.median(np.abs(residuals)))  # about the curve: the residuals' own median is near 0
    least = LEAST_SPREAD * max(1.0, float(np.median(np.abs(values))))
    size = np.minimum(np.abs(residuals), CLIP_SD * max(sd, least)) * math.sqrt(math.pi / 2)  # mean |residual| -> SD
    spread = np.polynomial.polynomial.polyfit(t, size, min(1, degree))
    powers = np.polynomial.polynomial.polyvander(t, degree)
    uncertainty = sd**2 * len(values) / n_subjects * np.linalg.pinv(powers.T @ powers)
    return Expectation(
        tuple(centre.tolist()),
        tuple(spread.tolist()),
        max(sd / 2, least),
        tuple(map(tuple, uncertainty.tolist())),
        n_subjects,
    )


def _freedom(n: int, parameters: int) -> float:
    """How much larger errors are than the residuals of a curve with parameters of its own."""
    return math.sqrt(n / max(n - parameters, 1))


def huber(values: Float[np.ndarray, " n"], t: Float[np.ndarray, " n"], degree: int) -> Float[np.ndarray, " k"]:
    """Coefficients of the polynomial, lowest power first, by iteratively reweighted least squares.

    As statsmodels' RLM, at a tenth of its time: leave-one-subject-out fits thousands.
    """
    powers = np.polynomial.polynomial.polyvander(t, degree)
    fitted = np.linalg.lstsq(powers, values, rcond=None)[0]
    for _ in range(ITERATIONS):
        size = np.abs(values - powers @ fitted)
        sd = MAD_TO_SD * np.median(size)
        root = np.sqrt(np.minimum(1, HUBER * sd / np.maximum(size, 1e-12)))
        before, fitted = fitted, np.linalg.lstsq(powers * root[:, None], values * root, rcond=None)[0]
        if np.abs(fitted - before).max() <= 1e-6 * sd:
            break
    return fitted


def robust(values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Median and robust SD."""
    median = float(np.median(values))
    return median, MAD_TO_SD * float(np.median(np.abs(values - median)))


def surprise(k: int, n: int, seen: bool) -> float:
    """How many SDs it is worth that a structure is seen, or not, where k of n normal images show it; signed.

    The two-sided normal quantile of the rule-of-succession chance (k + 1) / (n + 2): few normal images surprise little.
    """
    chance = (k + 1 if seen else n - k + 1) / (n + 2)
    return float((1 if seen else -1) * norm.isf(chance / 2))
