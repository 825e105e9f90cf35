"""Measurements: analytic ellipses at any angle, centre and spacing; the phantom's stated sizes; absent structures."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.biometry.measures import MEASURES, head_ellipse, measure
from input_pipeline.builders.fetal_phantom import anatomy, scan

HEAD = ("background", "head")


def drawn(ellipse, shape, id=1):
    return ellipse.fill(shape) * np.uint8(id)


def of_ellipse(semi_axes):
    """HC, OFD, BPD and area."""
    ellipse = Ellipse((0.0, 0.0), semi_axes, 0.0)
    long, short = max(semi_axes), min(semi_axes)
    return np.array([ellipse.circumference(), 2 * long, 2 * short, np.pi * long * short])


def found(labels, spacing_mm=(1.0, 1.0)):
    values = measure(labels, HEAD, spacing_mm)
    return np.array([values[name] for name in ("hc_mm", "ofd_mm", "bpd_mm", "head_area_mm2")])


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(249, 251), st.floats(259, 261)),
    long=st.floats(80, 240),
    ratio=st.floats(0.75, 1),
    angle=st.floats(0, np.pi),
    size=st.floats(0.05, 0.5),
)
def test_a_head_of_60_pixels_or_more_is_within_a_thousandth(centre, long, ratio, angle, size):
    truth = Ellipse(centre, (long, long * ratio), angle)
    labels = drawn(truth, (500, 520))
    expected = of_ellipse(truth.semi_axes) * [size, size, size, size**2]
    np.testing.assert_allclose(found(labels, (size, size)), expected, rtol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.floats(79, 81), st.floats(89, 91)),
    short=st.floats(40, 60),
    ratio=st.floats(0.75, 1),
    angle=st.floats(0, np.pi),
)
def test_a_head_of_40_to_60_pixels_is_within_two_thousandths(centre, short, ratio, angle):
    """The mask says no more: ellipses that differ by a thousandth in an axis cover the same pixels."""
    truth = Ellipse(centre, (short, short / ratio), angle)
    errors = found(drawn(truth, (160, 180))) / of_ellipse(truth.semi_axes) - 1
    assert np.abs(errors).max() < 2e-3
    assert abs(errors[0]) < 1e-3


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    long=st.floats(45, 60),
    ratio=st.floats(0.75, 0.95),
    angle=st.floats(0.05, np.pi - 0.05),
    spacing=st.tuples(st.floats(0.2, 0.5), st.floats(0.2, 0.5)),
)
def test_pixels_that_are_not_square(long, ratio, angle, spacing):
    """The head is an ellipse in mm, and another one in pixels."""
    rows, columns = np.ogrid[:620, :620]
    truth = Ellipse((310 * spacing[0] + 0.03, 310 * spacing[1] + 0.07), (long, long * ratio), angle)
    labels = (truth.radius(rows * spacing[0], columns * spacing[1]) <= 1).astype(np.uint8)
    np.testing.assert_allclose(found(labels, spacing), of_ellipse(truth.semi_axes), rtol=1e-3)
    head = head_ellipse(labels, HEAD, spacing)
    assert np.abs(np.subtract(head.centre, truth.centre) / spacing).max() < 0.03  # of a pixel; 0.02 in 1,500 draws
    assert measure(labels, HEAD, spacing)["head_orientation_deg"] == pytest.approx(np.rad2deg(angle), abs=0.5)


def test_the_shape_of_a_head():
    values = measure(drawn(Ellipse((150.0, 160.0), (120.0, 96.0), 0.5), (300, 320)), HEAD, (0.2, 0.2))
    assert values["cephalic_index"] == pytest.approx(0.8, abs=1e-3)
    assert values["head_eccentricity"] == pytest.approx(0.6, abs=2e-3)
    assert values["head_orientation_deg"] == pytest.approx(np.rad2deg(0.5), abs=0.1)
    assert math.isnan(values["bpd_outer_inner_mm"])
    assert math.isnan(values["tcd_mm"])


@pytest.mark.parametrize("spacing_mm", [None, (0.0, 0.0), (0.2, 0.0), (np.nan, 0.2)])
def test_without_spacing_only_shape_is_known(spacing_mm):
    values = measure(drawn(Ellipse((150.0, 160.0), (120.0, 96.0), 0.5), (300, 320)), HEAD, spacing_mm)
    known = {name for name, value in values.items() if not math.isnan(value)}
    assert known == {"cephalic_index", "head_eccentricity", "head_orientation_deg"}
    assert values["cephalic_index"] == pytest.approx(0.8, abs=1e-3)


@pytest.mark.parametrize(
    "labels",
    [np.zeros((40, 50), np.uint8), np.ones((40, 50), np.uint8), np.eye(40, dtype=np.uint8)],
    ids=["nothing", "the whole frame", "a line"],
)
def test_what_is_no_head_has_no_measures(labels):
    values = measure(labels, HEAD, (0.2, 0.2))
    assert tuple(values) == MEASURES
    assert all(math.isnan(value) for value in values.values())
    assert head_ellipse(labels, HEAD, (0.2, 0.2)) is None


def test_a_speck_of_a_structure_is_no_measurement_and_crumbs_are_no_part_of_it():
    labels = np.zeros((90, 90), np.uint8)
    labels[10, 10] = labels[80, 10] = labels[10, 80] = 1
    classes = ("background", "cerebellum", "lv", "csp")
    assert all(math.isnan(value) for value in measure(labels, classes, (1.0, 1.0)).values())
    labels |= drawn(Ellipse((45.0, 45.0), (20.0, 9.0), 0.3), (90, 90))
    assert measure(labels, classes, (1.0, 1.0))["tcd_mm"] == pytest.approx(40, abs=0.3)


def test_two_hemispheres_without_a_vermis_between_them_are_one_cerebellum():
    labels = np.zeros((120, 200), np.uint8)
    cv2.ellipse(labels, (60, 60), (30, 20), 0, 0, 360, 1, -1)
    cv2.ellipse(labels, (140, 60), (30, 20), 0, 0, 360, 1, -1)
    cv2.ellipse(labels, (10, 10), (4, 4), 0, 0, 360, 1, -1)  # a crumb is not
    assert measure(labels, ("background", "cerebellum"), (1.0, 1.0))["tcd_mm"] == pytest.approx(141, abs=0.5)


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match="labels reach from 0 to 2, but there are 2 classes"):
        measure(np.full((4, 4), 2, np.uint8) * np.eye(4, dtype=np.uint8), HEAD, None)


def phantom(plane, seed, shape=(256, 320), anomaly="none"):
    """A head, the labels of a view of it, and the size of its pixels."""
    rng = np.random.default_rng(seed)
    head = anatomy.sample_head(rng, anomaly)
    view = scan.sample_view(head, *shape, rng)
    return head, scan.labels(head, plane, view, *shape), (view.spacing_mm, view.spacing_mm)


def errors_of(plane, names, **settings):
    """Measured minus stated, a row a subject."""
    rows = []
    for seed in range(25):
        head, labels, spacing_mm = phantom(plane, seed, **settings)
        values = measure(labels, anatomy.CLASSES, spacing_mm)
        rows.append([values[name] - getattr(head, name) for name in names])
    return np.array(rows)


def test_the_phantoms_head_and_cerebellum_have_their_stated_sizes():
    """Pixels are about 0.3 mm."""
    names = ("hc_mm", "bpd_mm", "ofd_mm", "tcd_mm", "csp_mm", "csp_length_mm")
    errors = errors_of(anatomy.TRANS_CEREBELLUM, names)
    np.testing.assert_array_less(np.abs(errors.mean(0)), [0.01, 0.01, 0.01, 0.08, 0.05, 0.12])
    np.testing.assert_array_less(errors.std(0), [0.02, 0.01, 0.01, 0.1, 0.07, 0.1])


@pytest.mark.slow
@pytest.mark.parametrize("anomaly", ["none", "ventriculomegaly"])
def test_the_phantoms_ventricles_have_their_stated_width(anomaly):
    errors = errors_of(anatomy.TRANS_THALAMIC, ("lv_mm", "csp_mm"), anomaly=anomaly)
    np.testing.assert_array_less(np.abs(errors.mean(0)), [0.08, 0.05])
    np.testing.assert_array_less(errors.std(0), [0.12, 0.07])


def test_the_outer_inner_diameter_is_a_skull_less():
    head, labels, spacing_mm = phantom(anatomy.TRANS_THALAMIC, 3)
    values = measure(labels, anatomy.CLASSES, spacing_mm)
    assert values["bpd_outer_inner_mm"] == pytest.approx(head.bpd_mm - head.skull_mm, abs=0.02)


def test_the_brain_alone_is_the_inside_of_the_skull():
    head, labels, spacing_mm = phantom(anatomy.TRANS_THALAMIC, 3)
    classes = ("background", "brain", "csp", "lv")
    values = measure(np.array([0, 0, 1, 2, 3, 0], np.uint8)[labels], classes, spacing_mm)
    assert values["bpd_mm"] == pytest.approx(2 * head.inner.b, abs=0.03)
    assert values["ofd_mm"] == pytest.approx(2 * head.inner.a, abs=0.03)
    assert values["lv_mm"] == pytest.approx(head.lv_mm, abs=0.3)


def test_without_a_head_a_structure_is_measured_along_its_own_axes():
    head, labels, spacing_mm = phantom(anatomy.TRANS_CEREBELLUM, 1)
    for name, key in (("cerebellum", "tcd_mm"), ("csp", "csp_mm"), ("csp", "csp_length_mm")):
        alone = (labels == anatomy.CLASSES.index(name)).astype(np.uint8)
        values = measure(alone, ("background", name), spacing_mm)
        assert values[key] == pytest.approx(getattr(head, key), abs=0.3)
        assert math.isnan(values["hc_mm"])


def test_a_cavum_wider_than_long_keeps_its_width():
    labels = drawn(Ellipse((100.0, 130.0), (120.0, 90.0), 0.0), (200, 260))
    labels[88:112, 60:70] = 2
    values = measure(labels, ("background", "head", "csp"), (0.5, 0.5))
    assert values["csp_mm"] == pytest.approx(12, abs=0.05)
    assert values["csp_length_mm"] == pytest.approx(5, abs=0.1)


def test_structures_of_pixels_that_are_not_square():
    labels = np.zeros((120, 120), np.uint8)
    rows, columns = np.ogrid[:120, :120]
    labels[Ellipse((18.0, 30.0), (14.0, 6.0), 0.7).radius(rows * 0.3, columns * 0.5) <= 1] = 1
    assert measure(labels, ("background", "lv"), (0.3, 0.5))["lv_mm"] == pytest.approx(12, abs=0.15)
    assert measure(labels, ("background", "cerebellum"), (0.3, 0.5))["tcd_mm"] == pytest.approx(28, abs=0.3)


@pytest.mark.slow
def test_no_map_of_classes_breaks_a_measure():
    """Blobs of any shape, cut by the frame, in one piece or many: a length or NaN, and no warning."""
    rng, measured = np.random.default_rng(0), 0
    for _ in range(120):
        shape = tuple(rng.integers(1, 90, 2))
        field = cv2.GaussianBlur(rng.standard_normal(shape).astype(np.float32), (0, 0), rng.uniform(0.5, 6))
        field = field.reshape(shape)
        labels = np.digitize(field, np.sort(rng.choice([*field.ravel(), 9.0], 5))).astype(np.uint8)
        values = measure(labels, anatomy.CLASSES, (0.3, 0.7))
        assert all(math.isnan(value) or 0 <= value < 1000 for name, value in values.items() if name.endswith("_mm"))
        measured += not math.isnan(values["hc_mm"])
    assert measured > 60
