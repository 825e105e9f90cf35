"""The chart of a paired comparison: every subject's difference, and their mean with its interval."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from fetal_jax.reporting.charts import style

WORSE, BETTER = "#d97706", "#1d4ed8"  # below and above zero
ROW_INCHES, FRAME_INCHES = 0.62, 0.75
FONT = 10  # points: still read on a telephone
SPREAD = 0.26  # of the dots about their row

Differences = tuple[np.ndarray, float, float]  # by subject; the interval of their mean


def differences_by_subject(rows: Mapping[str, Differences], *, label: str) -> Markup:
    """An SVG with one row per class: one dot per subject, and the mean with its interval as a diamond upon a bar.

    The interval may be NaN, the differences may be none. The axis is that of the differences: of two subjects an
    interval may be many times as wide, and is cut.
    """
    figure, axes = style.new_axes(label, "")
    figure.set_size_inches(style.SIZE_INCHES[0], FRAME_INCHES + ROW_INCHES * len(rows))
    axes.grid(axis="y", visible=False)
    axes.grid(axis="x", color=style.GRID, lw=0.8)
    axes.axvline(0, color=style.INK, lw=1, zorder=2)
    for i, (differences, low, high) in enumerate(rows.values()):
        if not len(differences):
            continue
        colours = np.where(differences < 0, WORSE, BETTER)
        axes.scatter(differences, i + _spread(differences), s=13, c=colours, alpha=0.55, lw=0, zorder=3)
        axes.plot([low, high], [i, i], color=style.INK, lw=2.2, solid_capstyle="butt", zorder=4)
        axes.plot(differences.mean(), i, "D", color="#111827", ms=5.5, mec="white", mew=1, zorder=5)
    axes.set_yticks(range(len(rows)), [textwrap.fill(name, 14) for name in rows], parse_math=False)
    axes.tick_params(labelsize=FONT)
    axes.xaxis.label.set_fontsize(FONT)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(*_limits([differences for differences, _, _ in rows.values()]))
    return style.to_svg(figure)


def _limits(groups: Sequence[np.ndarray]) -> tuple[float, float]:
    """From the least difference to the largest, zero among them, with some room."""
    values = np.concatenate([[0.0], *groups])
    room = 0.06 * float(np.ptp(values)) or 0.01
    return float(values.min()) - room, float(values.max()) + room


def _spread(differences: np.ndarray) -> np.ndarray:
    """Heights that keep dots of about the same difference apart, the same ones every time."""
    order = np.argsort(np.argsort(differences, kind="stable"))
    golden = 0.618034  # neighbours in rank come far apart in height
    return SPREAD * (2 * (order * golden % 1) - 1) if len(differences) > 1 else np.zeros(1)
