"""Small charts as inline SVG: text stays text, so a page of them is light and sharp."""

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

SIZE_INCHES = (5.6, 2.7)
WIDE_INCHES, SQUARE_INCHES = (4.6, 2.4), (4.4, 3.2)  # half a page wide; small, so that letters are large
MOST_POINTS = 400  # of a curve; a longer one is averaged in blocks
INK, GRID = "#4a5568", "#e2e8f0"
COLOURS = ("#1d4ed8", "#d97706", "#0f766e", "#9333ea", "#be123c", "#475569")
DASHES = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)))  # for more curves than colours
FIRST_COLOUR, SECOND_COLOUR = "#0f766e", "#c2410c"  # of a histogram

LEGEND = {"frameon": True, "framealpha": 0.85, "facecolor": "white", "edgecolor": "none"}

LOSSES = ("loss", "supervised", "consistency")

Curve = tuple[Sequence[float], Sequence[float | None]]  # steps, values


def of_training(metrics: Sequence[dict]) -> list[dict]:
    """The charts `{"title", "svg"}` of the lines of `metrics.jsonl`: losses and validation Dice."""
    train = [line for line in metrics if line["kind"] == "train"]
    validation = [line for line in metrics if line["kind"] == "validation"]
    begins = {}
    for line in train + validation:
        begins[line["stage"]] = min(line["step"], begins.get(line["stage"], line["step"]))
    stages = [(step, name) for name, step in begins.items()]
    losses = {name: _curve(train, name) for name in LOSSES if any(line.get(name) for line in train)}
    if losses.get("loss") == losses.get("supervised"):
        losses.pop("supervised", None)  # no other term counted
    charts = []
    if losses:
        charts.append({"title": "Training loss", "svg": curves(losses, stages, label="loss")})
    if validation:
        dice = curves({"dice": _curve(validation, "dice")}, stages, label="Dice", limits=(0, 1))
        charts.append({"title": "Validation Dice", "svg": dice})
    return charts


def of_labelling(images: Sequence[dict]) -> list[dict]:
    """The charts `{"title", "svg"}` of the images of a labelling stage, kept and dropped."""
    charts = []
    for key, label in (
        ("confidence", "Mean confidence of the foreground"),
        ("pixels", "Foreground area (pixels)"),
    ):
        groups = [[image[key] for image in images if image["kept"] == kept] for kept in (True, False)]
        if any(groups):
            named = {f"{name} ({len(group)})": group for name, group in zip(("kept", "dropped"), groups, strict=True)}
            charts.append({"title": label, "svg": histogram(named, label=label.lower(), unit="images")})
    return charts


def _curve(lines: Sequence[dict], key: str) -> Curve:
    return [line["step"] for line in lines], [line.get(key) for line in lines]


def curves(
    lines: Mapping[str, Curve],
    stages: Sequence[tuple[int, str]],
    *,
    label: str,
    limits: tuple[float, float] | None = None,
) -> Markup:
    """An SVG of values over steps, one curve a name; a dashed line where a stage (step, name) begins."""
    figure, axes = new_axes("step", label, WIDE_INCHES)
    for (name, (steps, values)), colour in zip(lines.items(), COLOURS, strict=False):
        steps, values = _thin(np.asarray(steps, float), np.asarray(values, float))
        mark = "o" if len(steps) <= 60 else None
        axes.plot(steps, values, color=colour, lw=1.5, marker=mark, ms=2.5, label=name, zorder=3)
    if limits:
        axes.set_ylim(*limits)
    for i, (step, name) in enumerate(stages):
        axes.axvline(step, color="#94a3b8", lw=0.8, ls=(0, (3, 3)), zorder=1)
        place = {"xy": (step, 1), "xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(name, **place, xytext=(2, 3 + 9 * (i % 2)), fontsize=7.5, color=INK, parse_math=False)
    if len(lines) > 1:
        legend(axes)
    return to_svg(figure)


def histogram(groups: Mapping[str, Sequence[float]], *, label: str, unit: str, bins: int = 24) -> Markup:
    """An SVG of the counts of one or two stacked groups over the values of `label`."""
    figure, axes = new_axes(label, unit, WIDE_INCHES)
    values = [np.asarray(group, float) for group in groups.values()]
    edges = np.histogram_bin_edges(np.concatenate(values), bins=bins)
    colours = [FIRST_COLOUR, SECOND_COLOUR][: len(values)]
    axes.hist(values, edges, stacked=True, color=colours, label=list(groups), rwidth=0.92, zorder=3)
    axes.yaxis.get_major_locator().set_params(integer=True)
    legend(axes, figure, loc="outside upper left", ncols=2)
    return to_svg(figure)


def styles(number: int) -> list[dict]:
    """So many line styles, no two alike as long as colours and dashes last."""
    return [{"color": COLOURS[i % len(COLOURS)], "ls": DASHES[i // len(COLOURS) % len(DASHES)]} for i in range(number)]


def new_axes(x_label: str, y_label: str, size: tuple[float, float] = SIZE_INCHES, rows: Sequence[float] = (1,)):
    """A figure and its axes; of several rows of these heights, a list of axes that share their x."""
    figure = Figure(figsize=size, layout="constrained")  # not pyplot: no hidden global figure
    found = figure.subplots(len(rows), sharex=True, height_ratios=rows, squeeze=False)[:, 0]
    for axes in found:
        axes.tick_params(colors=INK, labelsize=8, length=0, which="both")
        axes.grid(axis="y", color=GRID, lw=0.8)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.spines["bottom"].set_color("#94a3b8")
    found[-1].set_xlabel(x_label, color=INK, fontsize=8.5, parse_math=False)
    found[0].set_ylabel(y_label, color=INK, fontsize=8.5, parse_math=False)
    found[-1].xaxis.get_major_locator().set_params(integer=x_label == "step")
    return figure, found[0] if len(found) == 1 else list(found)


def legend(axes, place=None, **options) -> None:
    """The names of what is in the axes, in there or in the `place` given. A dollar sign in a name is no formula."""
    handles, names = axes.get_legend_handles_labels()
    if not names:
        return
    drawn = (place or axes).legend(handles, names, fontsize=8, labelcolor=INK, **LEGEND, **options)
    for text in drawn.get_texts():
        text.set_parse_math(False)


def some(values: np.ndarray) -> np.ndarray:
    """As many of a curve's points as are drawn, its ends among them."""
    if len(values) <= MOST_POINTS:
        return values
    return values[np.linspace(0, len(values) - 1, MOST_POINTS).round().astype(int)]


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(steps) <= MOST_POINTS:
        return steps, values
    blocks = np.array_split(np.arange(len(steps)), MOST_POINTS)
    return np.array([steps[b].mean() for b in blocks]), np.array([values[b].mean() for b in blocks])


def to_svg(figure: Figure) -> Markup:
    """The <svg> element alone, the same bytes for the same figure."""
    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "fetal_jax"}):
        figure.savefig(text, format="svg", metadata=nothing, transparent=True, dpi=150)
    svg = text.getvalue()
    return Markup(svg[svg.index("<svg") :])
