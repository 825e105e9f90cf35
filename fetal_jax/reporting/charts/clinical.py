"""Charts of biometry, uncertainty, anomalies and robustness."""

import math
from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from fetal_jax.evaluation.results import CorruptionResult, DiceInterval, MeasureResult
from fetal_jax.evaluation.uncertainty import RiskCoverageCurve
from fetal_jax.reporting.charts import style
from fetal_jax.reporting.charts.training import histogram

MOST_DOTS = 2000  # beyond it dots become one picture: so many shapes make a page heavy
SMALL_INCHES = (3.0, 2.2)
BIAS, LIMITS, WIDTH = "#111827", "#c2410c", "#0f766e"


def bland_altman(measure: MeasureResult) -> Markup:
    """An SVG of differences over the mean of both, with limits of agreement (Bland & Altman, Lancet 1986)."""
    unit, reference, difference = measure.unit, np.array(measure.reference, float), np.array(measure.difference, float)
    figure, axes = style.new_axes(f"mean of both ({unit})", f"predicted − reference ({unit})", style.SQUARE_INCHES)
    axes.scatter(
        reference + difference / 2,
        difference,
        s=11,
        alpha=0.55,
        lw=0,
        color=style.COLOURS[0],
        zorder=3,
        rasterized=len(difference) > MOST_DOTS,
    )
    axes.axhline(0, color="#94a3b8", lw=0.8, zorder=1)
    _level(axes, [measure.bias], BIAS, "-", "mean difference")
    _level(axes, [measure.low, measure.high], LIMITS, "--", "limits of agreement")
    _level(axes, [-measure.half_width, measure.half_width], WIDTH, ":", "90 % interval")
    style.legend(axes, figure, loc="outside upper left", ncols=3, columnspacing=1.0, handlelength=1.6)
    return style.to_svg(figure)


def _level(axes: Axes, heights: Sequence[float], colour: str, line: str, name: str) -> None:
    for i, height in enumerate(height for height in heights if math.isfinite(height)):
        axes.axhline(height, color=colour, lw=1.3, ls=line, label=name if i == 0 else None, zorder=4)


def risk_coverage(curve: RiskCoverageCurve) -> Markup:
    """An SVG of risk over coverage."""
    figure, axes = style.new_axes("share of the images kept (coverage)", "mean risk, 1 − Dice", style.SQUARE_INCHES)
    coverage, risk = style.some(curve.coverage), style.some(curve.risk)
    axes.plot(coverage, risk, color=style.COLOURS[0], lw=1.6, label="most certain first", zorder=3)
    if not math.isnan(curve.random):
        axes.axhline(curve.random, color="#94a3b8", lw=1, ls=(0, (3, 3)), label="any order, on average", zorder=2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.08 * max(axes.get_ylim()[1] / 1.05, 1e-6))
    style.legend(axes, loc="best")
    return style.to_svg(figure)


def anomalies(normal: Sequence[float], anomalous: Sequence[float]) -> Markup:
    """An SVG of the counts of scores; one colour where no subject is known to be anomalous."""
    if not len(anomalous):
        return histogram({f"test subjects ({len(normal)})": normal}, label="anomaly score", unit="subjects")
    groups = {f"normal ({len(normal)})": normal, f"anomalous ({len(anomalous)})": anomalous}
    return histogram(groups, label="anomaly score", unit="subjects")


def robustness(rows: Sequence[CorruptionResult], clean: DiceInterval, bottom: float) -> Markup:
    """An SVG of Dice by strength, in the order given, with its interval; a grey band is that of the images as they are.

    `bottom` is the lowest Dice drawn.
    """
    figure, axes = style.new_axes(rows[0].unit or "strength", "Dice", SMALL_INCHES)
    places = np.arange(len(rows))
    dice, low, high = (np.array([getattr(row, key) for row in rows], float) for key in ("dice", "low", "high"))
    if not math.isnan(clean.low) and not math.isnan(clean.high):
        axes.axhspan(clean.low, clean.high, color="#cbd5e1", alpha=0.6, lw=0, zorder=1)
    if not math.isnan(clean.dice):
        axes.axhline(clean.dice, color="#64748b", lw=1, ls=(0, (3, 3)), zorder=2)
    axes.fill_between(places, low, high, color=style.COLOURS[0], alpha=0.18, lw=0, zorder=3)
    axes.plot(places, dice, "o-", color=style.COLOURS[0], lw=1.5, ms=3.5, zorder=4)
    axes.set_xticks(places, [f"{row.strength:g}" for row in rows])
    axes.set_ylim(bottom, 1.01)
    return style.to_svg(figure)
