"""Charts of what else a test set says: sizes, doubt, anomalies, perturbed images."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from fetal_jax.reporting import charts

MOST_DOTS = 2000  # beyond it dots become one picture: so many shapes make a page heavy
SMALL_INCHES = (3.0, 2.2)
BIAS, LIMITS, WIDTH = "#111827", "#c2410c", "#0f766e"


def bland_altman(measure: dict) -> Markup:
    """An SVG of differences over the mean of both, with limits of agreement (Bland & Altman, Lancet 1986).

    `measure` has "reference" and "difference" by subject, "unit", and "bias", "low", "high", "half_width" or None.
    """
    unit = measure.get("unit") or ""
    reference, difference = (np.array(measure.get(key) or [], float) for key in ("reference", "difference"))
    figure, axes = charts.new_axes(f"mean of both ({unit})", f"predicted − reference ({unit})", charts.SQUARE_INCHES)
    many = len(difference) > MOST_DOTS
    style = {"s": 11, "alpha": 0.55, "lw": 0, "color": charts.COLOURS[0], "zorder": 3, "rasterized": many}
    axes.scatter(reference + difference / 2, difference, **style)
    axes.axhline(0, color="#94a3b8", lw=0.8, zorder=1)
    _level(axes, [measure.get("bias")], BIAS, "-", "mean difference")
    _level(axes, [measure.get("low"), measure.get("high")], LIMITS, "--", "limits of agreement")
    half = measure.get("half_width")
    _level(axes, [None, None] if half is None else [-half, half], WIDTH, ":", "90 % interval")
    charts.legend(axes, figure, loc="outside upper left", ncols=3, columnspacing=1.0, handlelength=1.6)
    return charts.to_svg(figure)


def _level(axes, heights: Sequence[float | None], colour: str, style: str, name: str) -> None:
    for i, height in enumerate(height for height in heights if height is not None):
        axes.axhline(height, color=colour, lw=1.3, ls=style, label=name if i == 0 else None, zorder=4)


def abstention(curve: dict) -> Markup:
    """An SVG of risk over coverage, {"coverage", "risk", "random"}."""
    coverage, risk = (np.array(curve[key], float) for key in ("coverage", "risk"))
    figure, axes = charts.new_axes("share of the images kept (coverage)", "mean risk, 1 − Dice", charts.SQUARE_INCHES)
    axes.plot(
        charts.some(coverage),
        charts.some(risk),
        color=charts.COLOURS[0],
        lw=1.6,
        label="most certain first",
        zorder=3,
    )
    if curve.get("random") is not None:
        axes.axhline(curve["random"], color="#94a3b8", lw=1, ls=(0, (3, 3)), label="any order, on average", zorder=2)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.08 * max(axes.get_ylim()[1] / 1.05, 1e-6))
    charts.legend(axes, loc="best")
    return charts.to_svg(figure)


def anomalies(normal: Sequence[float], anomalous: Sequence[float]) -> Markup:
    """An SVG of the counts of scores; one colour where no subject is known to be anomalous."""
    if not len(anomalous):
        return charts.histogram({f"test subjects ({len(normal)})": normal}, label="anomaly score", unit="subjects")
    groups = {f"normal ({len(normal)})": normal, f"anomalous ({len(anomalous)})": anomalous}
    return charts.histogram(groups, label="anomaly score", unit="subjects")


def robustness(rows: Sequence[dict], clean: dict, bottom: float) -> Markup:
    """An SVG of Dice by strength, in the order given, with its interval; a grey band is that of the images as they are.

    `rows` are {"strength", "unit", "dice", "low", "high"}, `bottom` is the lowest Dice drawn.
    """
    figure, axes = charts.new_axes(rows[0].get("unit") or "strength", "Dice", SMALL_INCHES)
    places = np.arange(len(rows))
    dice, low, high = (np.array([row.get(key) for row in rows], float) for key in ("dice", "low", "high"))
    if None not in (clean.get("low"), clean.get("high")):
        axes.axhspan(clean["low"], clean["high"], color="#cbd5e1", alpha=0.6, lw=0, zorder=1)
    if clean.get("dice") is not None:
        axes.axhline(clean["dice"], color="#64748b", lw=1, ls=(0, (3, 3)), zorder=2)
    axes.fill_between(places, low, high, color=charts.COLOURS[0], alpha=0.18, lw=0, zorder=3)
    axes.plot(places, dice, "o-", color=charts.COLOURS[0], lw=1.5, ms=3.5, zorder=4)
    axes.set_xticks(places, [f"{row['strength']:g}" for row in rows])
    axes.set_ylim(bottom, 1.01)
    return charts.to_svg(figure)
