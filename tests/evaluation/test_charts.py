import xml.etree.ElementTree as ET

import numpy as np

from fetal_jax.evaluation import charts


def pool_image(kept):
    return {"kept": kept, "pixels": 812 if kept else 3, "confidence": 0.98 if kept else 0.0}


def svg_texts(svg):
    return [node.text for node in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_curves_name_their_lines_and_stages():
    svg = charts.curves(
        {"loss": ([1, 2, 3], [1.0, None, 0.5]), "supervised": ([1, 2, 3], [0.9, 0.8, 0.4])},
        [(1, "decoder"), (2, "a<b $x$")],
        label="loss",
    )
    assert {"decoder", "a<b $x$", "loss", "supervised", "step"} <= set(svg_texts(svg))


def test_a_long_curve_is_averaged_and_keeps_its_level():
    steps, values = charts._thin(np.arange(100_000.0), np.tile([0.0, 1.0], 50_000))
    assert len(steps) == charts.MOST_POINTS
    np.testing.assert_allclose(values, 0.5)
    assert (np.diff(steps) > 0).all()


def test_a_consistency_that_never_counted_is_not_drawn():
    lines = [{"kind": "train", "step": i, "stage": "s", "loss": 1.0, "consistency": 0.0} for i in (1, 2)]
    (chart,) = charts.of_training(lines)
    assert chart["title"] == "Training loss"
    assert "consistency" not in svg_texts(chart["svg"])


def test_histograms_tell_kept_from_dropped():
    found = charts.of_labelling([pool_image(kept=i > 1) for i in range(5)])
    assert [chart["title"] for chart in found] == [
        "Mean confidence of the foreground",
        "Foreground area (pixels)",
    ]
    assert {"kept (3)", "dropped (2)"} <= set(svg_texts(found[0]["svg"]))
    assert charts.of_labelling([]) == []
