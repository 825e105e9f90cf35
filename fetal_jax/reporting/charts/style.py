"""The style of all charts: sizes, colours, axes, legends, and figures as SVG."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

SIZE_INCHES = (5.6, 2.7)
WIDE_INCHES, SQUARE_INCHES = (4.6, 2.4), (4.4, 3.2)  # half a page wide; small, so that letters are large
MOST_POINTS = 400  # of a curve; a longer one is averaged in blocks
INK, GRID = "#4a5568", "#e2e8f0"
COLOURS = ("#1d4ed8", "#d97706", "#0f766e", "#9333ea", "#be123c", "#475569")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))  # for more curves than colours

LEGEND: dict[str, Any] = {"frameon": True, "framealpha": 0.85, "facecolor": "white", "edgecolor": "none"}


def styles(number: int) -> list[dict[str, Any]]:
    """So many line styles, no two alike as long as colours and dashes last."""
    return [{"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i // len(COLOURS) % len(DASHES)]} for i in range(number)]


def new_axes(x_label: str, y_label: str, size: tuple[float, float] = SIZE_INCHES) -> tuple[Figure, Axes]:
    """A figure and its axes."""
    figure, (axes,) = stacked_axes(x_label, y_label, size, (1,))
    return figure, axes


def stacked_axes(
    x_label: str, y_label: str, size: tuple[float, float], rows: Sequence[float]
) -> tuple[Figure, list[Axes]]:
    """A figure and the axes of several rows of these relative heights, which share their x."""
    figure = Figure(figsize=size, layout="constrained")  # not pyplot: no hidden global figure
    found = list(figure.subplots(len(rows), sharex=True, height_ratios=rows, squeeze=False)[:, 0])
    for axes in found:
        axes.tick_params(colors=INK, labelsize=8, length=0, which="both")
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color("#94a3b8")
    found[-1].set_xlabel(x_label, color=INK, fontsize=8.5, parse_math=False)
    found[0].set_ylabel(y_label, color=INK, fontsize=8.5, parse_math=False)
    locator = found[-1].xaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=x_label == "step")
    return figure, found


def legend(axes: Axes, place: Figure | None = None, **options: Any) -> None:
    """Draws the names of what is in the axes, there or in the figure. A dollar sign in a name is not a formula."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    style: dict[str, Any] = {"fontsize": 8, "labelcolor": INK, **LEGEND, **options}
    drawn = place.legend(handles, names, **style) if place else axes.legend(handles, names, **style)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def some(values: np.ndarray) -> np.ndarray:
    """As many of a curve's points as are drawn, its ends among them."""
    if len(values) <= MOST_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int)]


def to_svg(figure: Figure) -> Markup:
    """The <svg> element alone, the same bytes for the same figure."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fetal_jax"}):
        figure.savefig(text, format="svg", metadata=nothing, transparent=True, dpi=150)
    svg = text.getvalue()
    return Markup(svg[svg.index("<svg") :])
