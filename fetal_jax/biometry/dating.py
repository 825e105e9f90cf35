"""Gestational age from a measurement, by published charts with the uncertainty that they state; weeks and mm.

- Hadlock et al., Radiology 1984;152:497-501, 361 fetuses of 14-42 weeks: w = 8.96 + 0.540 HC + 0.0003 HC^3, HC in cm.
  Two standard deviations are 8 % of the estimate (Hadlock and Bowie, for HC in the second and third trimester).
- INTERGROWTH-21st, Papageorghiou et al., Ultrasound Obstet Gynecol 2016;48:719-726:
  days = exp(0.05970 ln(HC)^2 + 6.409e-9 HC^3 + 3.3258), HC in mm. The interval is read from the same project's chart of
  HC by age (Lancet 2014;384:869-879): the ages at which this HC is within the given share of all.
- INTERGROWTH-21st, Rodriguez-Sibaja et al., Ultrasound Obstet Gynecol 2021;57:614-623:
  w = 3.957113 + 8.154074 TCD - 0.076187 TCD^3, SD = 1.577198 - 1.30374 / sqrt(TCD), TCD in cm, 12-55 mm.

HC is outer to outer in both charts. What of them was checked against which table is in docs/biometry.md.
"""

import dataclasses
from collections.abc import Callable

import numpy as np
from scipy.special import ndtri

from fetal_jax.anatomy import growth_charts as growth

NAN = float("nan")
GRID = np.linspace(*growth.HC.weeks, 2601)  # a hundredth of a week


@dataclasses.dataclass(frozen=True)
class Age:
    """An age in weeks and the interval that holds it with the level asked for; NaN where there is none.

    `reason` says why there is none, or why the interval is cut.
    """

    weeks: float
    low: float
    high: float
    reason: str = ""


@dataclasses.dataclass(frozen=True)
class DatingChart:
    """`age` gives weeks, and `interval` its low and high end for a two-sided z; for sizes and ages in their ranges."""

    measure: str
    range_mm: tuple[float, float]
    age: Callable[[float], float]
    interval: Callable[[float, float], tuple[float, float]]
    ends: tuple[float, float] = (-np.inf, np.inf)  # weeks beyond which no interval can reach


def hadlock_hc(hc_mm: float) -> float:
    cm = hc_mm / 10
    return 8.96 + 0.540 * cm + 0.0003 * cm**3


def intergrowth_hc(hc_mm: float) -> float:
    return float(np.exp(0.05970 * np.log(hc_mm) ** 2 + 6.409e-9 * hc_mm**3 + 3.3258)) / 7


def intergrowth_tcd(tcd_mm: float) -> float:
    cm = tcd_mm / 10
    return 3.957113 + 8.154074 * cm - 0.076187 * cm**3


def _hadlock_hc_interval(hc_mm: float, z: float) -> tuple[float, float]:
    weeks = hadlock_hc(hc_mm)
    return weeks * (1 - 0.04 * z), weeks * (1 + 0.04 * z)


def _intergrowth_hc_interval(hc_mm: float, z: float) -> tuple[float, float]:
    fitting = GRID[np.abs((hc_mm - growth.HC.mean(GRID)) / growth.HC.sd(GRID)) <= z]
    return float(fitting[0]), float(fitting[-1])


def _intergrowth_tcd_interval(tcd_mm: float, z: float) -> tuple[float, float]:
    weeks, sd = intergrowth_tcd(tcd_mm), 1.577198 - 1.30374 / np.sqrt(tcd_mm / 10)
    return float(weeks - z * sd), float(weeks + z * sd)


CHARTS = {
    "hc_hadlock_1984": DatingChart("hc_mm", (90.0, 358.0), hadlock_hc, _hadlock_hc_interval),
    "hc_intergrowth_2016": DatingChart(
        "hc_mm", (97.0, 334.0), intergrowth_hc, _intergrowth_hc_interval, growth.HC.weeks
    ),
    "tcd_intergrowth_2021": DatingChart("tcd_mm", (12.0, 55.0), intergrowth_tcd, _intergrowth_tcd_interval),
}


def gestational_age(*, hc_mm: float = NAN, tcd_mm: float = NAN, level: float = 0.95) -> dict[str, Age]:
    """The age by each of `CHARTS`, with the interval that holds a fetus's age with probability `level`.

    It is the spread between fetuses that the chart states. The error of the measurement comes on top.
    """
    values = {"hc_mm": hc_mm, "tcd_mm": tcd_mm}
    return {name: _age(chart, values[chart.measure], float(ndtri((1 + level) / 2))) for name, chart in CHARTS.items()}


def _age(chart: DatingChart, value_mm: float, z: float) -> Age:
    first, last = chart.range_mm
    if np.isnan(value_mm):
        return Age(NAN, NAN, NAN, f"{chart.measure} was not measured")
    if not first <= value_mm <= last:
        return Age(NAN, NAN, NAN, f"{chart.measure} of {value_mm:.1f} is out of the chart's {first:g} to {last:g}")
    low, high = chart.interval(value_mm, z)
    cut = low <= chart.ends[0] or high >= chart.ends[1]
    reason = f"the interval ends where the chart does, at {chart.ends[0]:g} and {chart.ends[1]:g} weeks" if cut else ""
    return Age(float(chart.age(value_mm)), low, high, reason)


def z_score(chart: str, value_mm: float, ga_weeks: float) -> float:
    """Standard deviations from the mean of that age; NaN out of the chart's ages, and of NaN.

    Raises ValueError for a name that is not of `growth.PUBLISHED`.
    """
    if chart not in growth.PUBLISHED:
        raise ValueError(f"{chart!r} is not a growth chart: choose from {', '.join(growth.PUBLISHED)}")
    return growth.PUBLISHED[chart].z(ga_weeks, value_mm)
