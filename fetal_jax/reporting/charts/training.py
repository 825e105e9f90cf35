"""Charts of training: losses and validation Dice over steps, and what a labelling kept."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

from fetal_jax.evaluation.protocol import PseudoLabelFacts, TrainingCurve, TrainingHistory
from fetal_jax.reporting.base import Chart
from fetal_jax.reporting.charts import style

FIRST_COLOUR, SECOND_COLOUR = "#0f766e", "#c2410c"  # of a histogram


def training_charts(history: TrainingHistory) -> list[Chart]:
    """Training losses and validation Dice, as far as there are any."""
    losses = dict(history.losses)
    if "loss" in losses and "supervised" in losses and losses["loss"] == losses["supervised"]:
        del losses["supervised"]  # no other term counted
    charts = []
    if losses:
        charts.append(Chart("Training loss", curves(losses, history.stage_starts, label="loss")))
    if history.validation_dice:
        dice = curves({"dice": history.validation_dice}, history.stage_starts, label="Dice", limits=(0, 1))
        charts.append(Chart("Validation Dice", dice))
    return charts


def labelling_charts(images: Sequence[PseudoLabelFacts]) -> list[Chart]:
    """Histograms of the images of a labelling, kept and dropped."""
    if not images:
        return []
    columns = {
        "Mean confidence of the foreground": [(image.confidence, image.kept) for image in images],
        "Foreground area (pixels)": [(image.pixels, image.kept) for image in images],
    }
    charts = []
    for label, values in columns.items():
        groups = {"kept": [value for value, kept in values if kept], "dropped": [v for v, kept in values if not kept]}
        named = {f"{name} ({len(group)})": group for name, group in groups.items()}
        charts.append(Chart(label, histogram(named, label=label.lower(), unit="images")))
    return charts


def curves(
    lines: Mapping[str, TrainingCurve],
    stage_starts: Mapping[str, int],
    *,
    label: str,
    limits: tuple[float, float] | None = None,
) -> Markup:
    """An SVG of values over steps, one named curve each; a dashed line where a stage begins."""
    figure, axes = style.new_axes("step", label, style.WIDE_INCHES)
    for (name, line), colour in zip(lines.items(), style.COLOURS, strict=False):
        steps, values = thinned(np.asarray(line.steps, float), np.asarray(line.values, float))
        mark = "o" if len(steps) <= 60 else None
        axes.plot(steps, values, color=colour, lw=1.5, marker=mark, ms=2.5, label=name, zorder=3)
    if limits:
        axes.set_ylim(*limits)
    for i, (name, step) in enumerate(stage_starts.items()):
        axes.axvline(step, color="#94a3b8", lw=0.8, ls=(0, (3, 3)), zorder=1)
        axes.annotate(
            name,
            xy=(step, 1),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            xytext=(2, 3 + 9 * (i % 2)),
            fontsize=7.5,
            color=style.INK,
            parse_math=False,
        )
    if len(lines) > 1:
        style.legend(axes)
    return style.to_svg(figure)


def histogram(groups: Mapping[str, Sequence[float]], *, label: str, unit: str, bins: int = 24) -> Markup:
    """An SVG of the counts of one or two stacked groups over the values of `label`."""
    figure, axes = style.new_axes(label, unit, style.WIDE_INCHES)
    values = [np.asarray(group, float) for group in groups.values()]
    edges = np.histogram_bin_edges(np.concatenate(values), bins=bins)
    colours = [FIRST_COLOUR, SECOND_COLOUR][: len(values)]
    axes.hist(values, edges.tolist(), stacked=True, color=colours, label=list(groups), rwidth=0.92, zorder=3)
    locator = axes.yaxis.get_major_locator()
    if isinstance(locator, MaxNLocator):
        locator.set_params(integer=True)
    style.legend(axes, figure, loc="outside upper left", ncols=2)
    return style.to_svg(figure)


def thinned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A curve of at most MOST_POINTS points: a longer one is averaged in blocks."""
    if len(steps) <= style.MOST_POINTS:
        return steps, values
    blocks = np.array_split(np.arange(len(steps)), style.MOST_POINTS)
    return np.array([steps[b].mean() for b in blocks]), np.array([values[b].mean() for b in blocks])
