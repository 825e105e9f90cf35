"""Masks and pixel sizes: each rule on a mask or a size made by hand, and what is usual is left alone."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from input_pipeline.audit.checks import (
    KINDS,
    Finding,
    Measures,
    Structure,
    absent_classes,
    check_masks,
    check_spacing,
    measure,
    measure_structures,
    robust_z,
)

CLASSES = ("background", "brain", "csp")


def record(labels, *, name="a", labelled=True, spacing=(0.2, 0.2)):
    spacing = np.array(spacing, np.float32)
    return SimpleNamespace(name=name, subject="s", labels=labels, labelled=labelled, spacing_mm=spacing)


def mask(*boxes, shape=(40, 50)):
    """Rectangles (class id, top, bottom, left, right) on background."""
    labels = np.zeros(shape, np.uint8)
    for class_id, top, bottom, left, right in boxes:
        labels[top:bottom, left:right] = class_id
    return labels


def findings(*labels):
    """Kind, structure and value of what is odd about these masks."""
    measures = [measure(record(mask, name=f"image{i}")) for i, mask in enumerate(labels)]
    return [(f.kind, f.structure, f.value) for f in check_masks(measures, CLASSES)]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (mask((1, 10, 30, 10, 30)), []),
        (mask(), [("empty", "", 0)]),
        (mask((1, 10, 30, 10, 30), (2, 15, 17, 15, 17)), [("tiny", "csp", 4)]),
        (mask((1, 10, 30, 10, 30), (2, 15, 16, 15, 20)), []),  # 5 px of 2000
        (mask((1, 100, 250, 100, 250), (2, 8, 10, 8, 12), shape=(300, 300)), [("tiny", "csp", 8)]),  # below 9 px
        (mask((1, 100, 250, 100, 250), (2, 8, 11, 8, 11), shape=(300, 300)), []),
        (mask((1, 0, 20, 10, 30)), [("out of frame", "brain", 40)]),  # 2 rows of 20
        (mask((1, 10, 30, 30, 49)), [("out of frame", "brain", 20)]),  # the last column but one
        (mask((1, 10, 30, 30, 48)), []),
        (mask((1, 10, 30, 10, 30), (7, 20, 25, 20, 25)), [("unknown id", "", 7)]),
    ],
)
def test_a_mask_by_hand(labels, expected):
    assert findings(labels) == expected


def pieces(n):
    return mask(*((1, 4, 8, left, left + 4) for left in range(4, 4 + 8 * n, 8)))


def test_pieces_are_many_by_themselves_and_by_what_is_usual():
    assert findings(pieces(1), pieces(1), pieces(4)) == []
    assert findings(pieces(1), pieces(1), pieces(5)) == [("many pieces", "brain", 5)]
    assert findings(pieces(2), pieces(2), pieces(5)) == []


def test_pieces_that_touch_at_a_corner_are_one():
    assert measure_structures(mask((1, 4, 8, 4, 8), (1, 8, 12, 8, 12)))[1] == Structure(32, 32 / 2000, 0, 1)


def test_a_volume_is_measured_in_three_dimensions():
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[0:5, 5:10, 5:10] = 1  # touches the first slice only
    labels[5:8, 10:12, 10:12] = 1  # meets the other at a corner
    labels[7, 3, 3] = 2
    assert measure_structures(labels) == {1: Structure(137, 137 / 4000, 50, 1), 2: Structure(1, 1 / 4000, 0, 1)}


@given(arrays(np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 3)))
def test_structures_share_out_the_foreground(labels):
    found = measure_structures(labels)
    assert set(found) == set(np.unique(labels)) - {0}
    assert sum(s.pixels for s in found.values()) == (labels > 0).sum()
    assert all(1 <= s.components <= s.pixels and 0 <= s.on_frame <= s.pixels for s in found.values())
    assert found == {k: found[k] for k in measure_structures(labels[::-1, ::-1])}


def test_labels_of_unlabelled_images_mean_nothing():
    image = measure(record(mask(), labelled=False))
    assert check_masks([image], CLASSES) == ()
    assert absent_classes([image], CLASSES) == ()


def test_classes_that_no_image_shows():
    images = [measure(record(mask((1, 10, 20, 10, 20))))]
    assert absent_classes(images, CLASSES) == ("csp",)
    assert absent_classes([*images, measure(record(mask((2, 10, 20, 10, 20))))], CLASSES) == ()


def sized(fraction, spacing=(0.2, 0.2), name="a"):
    return Measures(name, "s", True, {1: Structure(1000, fraction, 0, 1)}, spacing)


def test_a_head_of_another_size_stands_out():
    fractions = [0.3 * 1.1**i for i in (-2, -1, -1, 0, 0, 0, 1, 1, 2, 2, -2)]
    assert check_masks([sized(f) for f in fractions], CLASSES) == ()
    small = check_masks([*(sized(f) for f in fractions), sized(0.02, name="small")], CLASSES)
    assert [(f.kind, f.name, f.structure) for f in small] == [("size outlier", "small", "brain")]
    # Twelve logarithms in steps of log 1.1: median 0, median distance one step.
    assert small[0].value == pytest.approx(np.log(0.02 / 0.3) / (1.4826 * np.log(1.1)), abs=0.6)


def test_robust_z_by_hand():
    values = np.arange(11.0)  # median 5, absolute deviations 0 1 1 2 2 3 3 4 4 5 5: median 3
    np.testing.assert_allclose(robust_z(values), (values - 5) / (1.4826 * 3))
    equal = np.array([1.0] * 10 + [1.1])
    np.testing.assert_allclose(robust_z(equal), [0] * 10 + [0.1 / 0.05])  # the spread is 5 % at least
    assert robust_z(np.array([0.0, 0, 0, 99])).tolist() == [0] * 4  # too few to know


@pytest.mark.parametrize(
    ("spacing", "expected"),
    [
        ((0.2, 0.2), []),
        ((0.2, 0.209), []),
        ((0.2, 0.212), [("anisotropic spacing", 1.06)]),
        ((0.8, 0.8, 1.6), [("anisotropic spacing", 2)]),
        ((0.0, 0.0), [("unknown spacing", 0)]),
        ((0.2, 0.0), [("unknown spacing", 0)]),
    ],
)
def test_a_pixel_size_by_hand(spacing, expected):
    found = check_spacing([measure(record(mask(), spacing=spacing))])
    assert [(f.kind, f.value) for f in found] == expected


def test_a_pixel_size_in_other_units_stands_out():
    """Centimetres among millimetres."""
    usual = [sized(0.3, (s, s)) for s in (0.1, 0.11, 0.12, 0.13, 0.14, 0.15, 0.16, 0.17, 0.18, 0.2)]
    assert check_spacing(usual) == ()
    odd = sized(0.3, (0.014, 0.014), name="in_cm"), sized(0.3, (0.0, 0.0), name="none")
    _, found = check_spacing([*usual, *odd])
    assert (found.kind, found.name) == ("spacing outlier", "in_cm")
    assert found.value < -5


def test_findings_come_sorted_by_kind_and_name():
    images = [measure(record(mask((1, 0, 20, 10, 30)), name=name)) for name in "cb"]
    found = check_masks([*images, measure(record(mask(), name="z"))], CLASSES)
    assert [(f.kind, f.name) for f in found] == [("empty", "z"), ("out of frame", "b"), ("out of frame", "c")]
    assert found[1] == Finding("out of frame", "b", "s", "brain", 40)
    assert {f.kind for f in found} <= set(KINDS)
