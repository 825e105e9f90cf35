"""Charts: what is drawn, at which coordinates, and that names stay text."""

import dataclasses
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.report import made_up
from fetal_jax.evaluation.protocol import PseudoLabelFacts, TrainingCurve, TrainingHistory
from fetal_jax.evaluation.results import CorruptionResult, DiceInterval, PixelCurve, ReliabilityBin
from fetal_jax.evaluation.uncertainty import RiskCoverageCurve
from fetal_jax.reporting.charts import clinical, pixels, style, training

NAN = float("nan")
MEASURE = made_up(10).biometry.measures["hc_mm"]
ROBUST = [CorruptionResult(s, "degrees", 0.9, 0.8, NAN, 0.0, 0.0, 0.0, NAN, 1) for s in (45.0, 5.0)]


def pool_image(kept):
    numbers = (812, 0.98) if kept else (3, 0.0)
    return PseudoLabelFacts("a", "s", kept, "kept" if kept else "small", *numbers)


def svg_texts(svg):
    return [node.text for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture
def figures(monkeypatch):
    """The figures that are drawn, as matplotlib has them."""
    drawn = []
    to_svg = style.to_svg
    monkeypatch.setattr(style, "to_svg", lambda figure: drawn.append(figure) or to_svg(figure))
    return drawn


def lines(figure):
    """The points of every line with a name in the first axes."""
    named = [line for line in figure.axes[0].lines if not line.get_label().startswith("_")]
    return {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in named}


def levels(figure):
    """The heights of the horizontal lines."""
    return sorted(line.get_ydata()[0] for line in figure.axes[0].lines)


def measure(n=3, **changes):
    rng = np.random.default_rng(0)
    points = {"reference": tuple(rng.uniform(50, 90, n).tolist()), "difference": tuple(rng.normal(0, 1, n).tolist())}
    numbers = {"bias": 0.5, "low": -3.0, "high": 4.0, "half_width": 2.5}
    return dataclasses.replace(MEASURE, **numbers | points | changes)


def test_curves_name_their_lines_and_stages():
    lines = {
        "loss": TrainingCurve((1, 2, 3), (1.0, NAN, 0.5)),
        "supervised": TrainingCurve((1, 2, 3), (0.9, 0.8, 0.4)),
    }
    svg = training.curves(lines, {"decoder": 1, "a<b $x$": 2}, label="loss")
    assert {"decoder", "a<b $x$", "loss", "supervised", "step"} <= set(svg_texts(svg))


def test_a_long_curve_is_averaged_and_keeps_its_level():
    steps, values = training.thinned(np.arange(100_000.0), np.tile([0.0, 1.0], 50_000))
    assert len(steps) == style.MOST_POINTS
    np.testing.assert_allclose(values, 0.5)
    assert (np.diff(steps) > 0).all()


def test_a_consistency_that_never_counted_is_not_drawn():
    lines = [{"kind": "train", "step": i, "stage": "s", "loss": 1.0, "consistency": 0.0} for i in (1, 2)]
    (chart,) = training.training_charts(TrainingHistory.from_lines(lines))
    assert chart.title == "Training loss"
    assert "consistency" not in svg_texts(chart.svg)


def test_a_loss_that_is_the_supervised_one_is_drawn_once():
    lines = [{"kind": "train", "stage": "a", "step": i, "loss": i / 3, "supervised": i / 3} for i in (1, 2, 3)]
    assert "supervised" not in training.training_charts(TrainingHistory.from_lines(lines))[0].svg
    lines[1]["supervised"] = 0.5
    assert "supervised" in training.training_charts(TrainingHistory.from_lines(lines))[0].svg


def test_shares_of_pixels_are_in_real_percents(figures):
    bins = [ReliabilityBin(c, c, s) for c, s in ((0.6, 0.002), (0.99, 0.998))]
    texts = svg_texts(pixels.reliability(bins))
    assert [text for text in texts if text and text.endswith(" %")] == ["0.1 %", "100 %"]
    low, high = figures[0].axes[1].get_ylim()
    assert low == pytest.approx(0.001)
    assert high > 1


def test_histograms_tell_kept_from_dropped():
    found = training.labelling_charts([pool_image(kept=i > 1) for i in range(5)])
    assert [chart.title for chart in found] == [
        "Mean confidence of the foreground",
        "Foreground area (pixels)",
    ]
    assert {"kept (3)", "dropped (2)"} <= set(svg_texts(found[0].svg))
    assert training.labelling_charts([]) == []


def test_a_dollar_in_a_name_is_no_formula():
    line = PixelCurve((0.0, 1.0), (0.0, 1.0), NAN)
    svg, _ = pixels.roc({"a $x$ b": line})
    assert "a $x$ b" in svg_texts(svg)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_zoom_has_room_about_the_worst_curve(misses):
    shown = pixels.zoom(misses)
    assert shown == 1 or shown >= pixels.CLEAR * max(misses)
    smaller = [part for part in pixels.ZOOMS if part < shown]
    assert all(part < pixels.CLEAR * max(misses) for part in smaller)


def test_roc_shows_the_corner_and_every_point_of_it(figures):
    good = PixelCurve((0.0, 0.01, 1.0), (0.0, 0.98, 1.0), 0.985)  # 0.02 from its corner
    better = PixelCurve((0.0, 0.001, 1.0), (0.0, 0.999, 1.0), 0.999)
    _, shown = pixels.roc({"good": good, "better": better})
    assert shown == 0.1  # the first that is at least 4 x 0.02
    assert figures[0].axes[0].get_xlim() == (0, 0.1)
    assert lines(figures[0])["good, area 0.9850"] == (list(good.x), list(good.y))
    assert pixels.roc({"guess": PixelCurve((0.0, 0.5, 1.0), (0.0, 0.5, 1.0), 0.5)})[1] == 1


def test_precision_and_recall_have_their_corner_at_one(figures):
    line = PixelCurve((0.0, 0.97, 1.0), (1.0, 0.96, 0.3), 0.96)  # 0.04 from its corner
    _, shown = pixels.precision_recall({"head": line})
    assert shown == 0.2
    assert figures[0].axes[0].get_xlim() == (0.8, 1)


def test_many_classes_have_styles_of_their_own():
    styles = style.styles(18)
    assert len({(one["color"], one["ls"]) for one in styles}) == 18


def test_a_curve_of_many_points_keeps_its_ends():
    kept = style.some(np.arange(10_000))
    assert len(kept) == style.MOST_POINTS
    assert (kept[0], kept[-1]) == (0, 9999)
    assert list(style.some(np.arange(3))) == [0, 1, 2]


def test_reliability_leaves_empty_bins_out_and_keeps_uneven_ones(figures):
    bins = [(NAN, NAN, 0.0), (0.55, 0.6, 0.1), (0.97, 0.99, 0.9)]
    pixels.reliability([ReliabilityBin(*each) for each in bins])
    assert lines(figures[0])["this network"] == ([0.55, 0.97], [0.6, 0.99])
    bars = figures[0].axes[1].patches
    np.testing.assert_allclose([bar.get_x() + bar.get_width() / 2 for bar in bars], [0.55, 0.97])
    assert [bar.get_height() for bar in bars] == [0.1, 0.9]


def test_bland_altman_is_over_the_mean_of_both_with_its_limits(figures):
    clinical.bland_altman(measure(reference=(10.0, 20.0), difference=(2.0, -4.0)))
    dots = figures[0].axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(dots, [[11, 2], [18, -4]])
    assert levels(figures[0]) == [-3.0, -2.5, 0, 0.5, 2.5, 4.0]


def test_a_size_without_an_interval_has_none_in_its_chart(figures):
    svg = clinical.bland_altman(measure(half_width=NAN))
    assert levels(figures[0]) == [-3.0, 0, 0.5, 4.0]
    assert "90 % interval" not in svg_texts(svg)


def test_very_many_dots_are_one_picture():
    few, many = (clinical.bland_altman(measure(n)) for n in (2000, 20_000))
    assert "<image" not in few
    assert many.count("<image") == 1
    assert len(many) < len(few)


def test_risk_is_drawn_over_coverage(figures):
    curve = RiskCoverageCurve(np.array([0.5, 1.0]), np.array([0.01, 0.04]), 0.02, 0.02, 0.04, 0)
    clinical.risk_coverage(curve)
    assert lines(figures[0])["most certain first"] == ([0.5, 1.0], [0.01, 0.04])
    assert lines(figures[0])["any order, on average"][1] == [0.04, 0.04]


def test_anomalies_are_counted_by_group(figures):
    svg = clinical.anomalies([1.0, 1.1, 2.0], [5.0])
    assert {"normal (3)", "anomalous (1)"} <= set(svg_texts(svg))
    assert sum(bar.get_height() for bar in figures[0].axes[0].patches) == 4
    assert "test subjects (2)" in svg_texts(clinical.anomalies([1.0, 2.0], []))


def test_robustness_keeps_the_order_from_weak_to_strong(figures):
    svg = clinical.robustness(ROBUST, DiceInterval(0.95, 0.94, 0.96), 0.75)
    assert [text for text in svg_texts(svg) if text in ("45", "5")] == ["45", "5"]
    assert "degrees" in svg_texts(svg)
    assert figures[0].axes[0].get_ylim()[0] == 0.75
    assert levels(figures[0]) == [0.9, 0.95]
