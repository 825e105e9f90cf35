"""Charts of all test pixels: ROC and precision-recall curves, and how well probabilities are calibrated."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from fetal_jax.evaluation.results import PixelCurve, ReliabilityBin
from fetal_jax.reporting.charts import style

ZOOMS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)  # how much of each axis is drawn
CLEAR = 4  # times the distance of the worst curve from its corner


def roc(lines: Mapping[str, PixelCurve]) -> tuple[Markup, float]:
    """An SVG of true over false positive rate, one curve per class, and how much of each axis it shows.

    Only the corner is drawn where the curves live in it. Every curve has a defined point.
    """
    figure, axes = style.new_axes("false positive rate", "true positive rate (recall)", style.SQUARE_INCHES)
    drawn = _draw(axes, lines)
    shown = zoom([np.nanmin(np.maximum(x, 1 - y)) for x, y in drawn])
    axes.set_xlim(0, shown)
    axes.set_ylim(1 - shown, 1 + shown / 50)
    style.legend(axes, loc="lower right")
    return style.to_svg(figure), shown


def precision_recall(lines: Mapping[str, PixelCurve]) -> tuple[Markup, float]:
    """An SVG of precision over recall; see `roc`."""
    figure, axes = style.new_axes("recall", "precision", style.SQUARE_INCHES)
    drawn = _draw(axes, lines)
    shown = zoom([1 - np.nanmax(np.minimum(x, y)) for x, y in drawn])
    axes.set_xlim(1 - shown, 1)
    axes.set_ylim(1 - shown, 1 + shown / 50)
    style.legend(axes, loc="lower left")
    return style.to_svg(figure), shown


def zoom(misses: Sequence[float]) -> float:
    """The smallest part of the axes that shows every curve's nearest point to the corner with room about it."""
    worst = max(misses, default=1.0)
    return next((part for part in ZOOMS if part >= CLEAR * worst), 1.0)


def _draw(axes: Axes, lines: Mapping[str, PixelCurve]) -> list[tuple[np.ndarray, np.ndarray]]:
    curves = [(np.array(line.x), np.array(line.y)) for line in lines.values()]
    for (name, line), (x, y), look in zip(lines.items(), curves, style.styles(len(lines)), strict=True):
        area = "" if math.isnan(line.auc) else f", area {line.auc:.4f}"
        axes.plot(style.some(x), style.some(y), lw=1.6, label=f"{name}{area}", zorder=3, **look)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    return curves


def reliability(bins: Sequence[ReliabilityBin]) -> Markup:
    """An SVG of accuracy over confidence, and below it the share of pixels; empty bins are left out."""
    held = [each for each in bins if not math.isnan(each.confidence) and not math.isnan(each.accuracy)]
    x, accuracy, share = (
        np.array([getattr(each, key) for each in held], float) for key in ("confidence", "accuracy", "share")
    )
    figure, (upper, lower) = style.stacked_axes("", "accuracy", style.SQUARE_INCHES, rows=(3, 1))
    start = np.floor(10 * min(x.min(initial=1), accuracy.min(initial=1))) / 10
    upper.plot([start, 1], [start, 1], color="#94a3b8", lw=1, ls=(0, (3, 3)), label="calibrated", zorder=2)
    upper.plot(x, accuracy, "o-", color=style.COLOURS[0], lw=1.4, ms=4, label="this network", zorder=3)
    upper.set_xlim(start, 1.01)
    upper.set_ylim(start, 1.01)
    style.legend(upper, loc="lower right")
    lower.bar(x, share, width=0.02 * (1.01 - start), color=style.COLOURS[0], zorder=3)
    lower.set_yscale("log")
    lower.set_ylim(10 ** np.floor(np.log10(share[share > 0].min(initial=0.1))), 1.5)
    lower.yaxis.set_major_locator(LogLocator(numticks=3))
    lower.yaxis.set_major_formatter(FuncFormatter(lambda share, _: f"{100 * share:g} %"))
    lower.yaxis.set_minor_formatter(NullFormatter())
    lower.set_xlabel("confidence (probability of the likeliest class)", color=style.INK, fontsize=8.5)
    lower.set_ylabel("share", color=style.INK, fontsize=8.5)
    return style.to_svg(figure)
