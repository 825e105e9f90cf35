"""Shapes of structures: numbers by hand, and the same with pixels that are not square."""

import math

import numpy as np
import pytest

from fetal_jax.biometry.shapes import ABSENT, shapes
from fetal_jax.ellipse import Ellipse

CLASSES = ("background", "brain", "csp", "lv")


def picture():
    labels = np.zeros((60, 80), np.uint8)
    labels[10:30, 20:60] = 1
    labels[15:18, 30:34] = 2
    labels[40, 70] = 2
    return labels


def test_numbers_by_hand():
    found = shapes(picture(), CLASSES, (0.5, 0.25))
    assert list(found) == ["brain", "csp", "lv"]
    csp = found["csp"]
    assert (csp.area_px, csp.area_mm2, csp.pieces) == (13, 13 * 0.125, 2)
    assert csp.box_px == (15, 30, 40, 70)
    assert csp.centroid_px == (pytest.approx((12 * 16 + 40) / 13), pytest.approx((12 * 31.5 + 70) / 13))
    assert found["brain"].area_px == 800 - 12
    assert found["lv"] == ABSENT


def test_without_spacing_there_is_no_area_in_mm():
    found = shapes(picture(), CLASSES, (0.0, 0.0))["csp"]
    assert found.area_px == 13
    assert math.isnan(found.area_mm2)
    assert found.centroid_px == shapes(picture(), CLASSES, (0.5, 0.25))["csp"].centroid_px


@pytest.mark.parametrize("angle", [0.0, 0.6, 1.5, 2.8])
@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (0.4, 0.8)])
def test_the_ellipse_of_an_ellipse(angle, spacing_mm):
    rows, columns = np.ogrid[:300, :300]
    truth = Ellipse((150 * spacing_mm[0], 150 * spacing_mm[1]), (50.0, 30.0), angle)
    labels = (truth.radius(rows * spacing_mm[0], columns * spacing_mm[1]) <= 1).astype(np.uint8)
    found = shapes(labels, CLASSES[:2], spacing_mm)["brain"]
    assert found.eccentricity == pytest.approx(0.8, abs=0.004)
    assert math.sin(math.radians(found.orientation_deg) - angle) == pytest.approx(0, abs=0.01)
    assert 0 <= found.orientation_deg < 180
    assert found.area_mm2 == pytest.approx(math.pi * 1500, rel=0.003)


def test_labels_that_are_no_class_are_refused():
    with pytest.raises(ValueError, match="labels reach from 0 to 4, but there are 4 classes"):
        shapes(picture() * 2, CLASSES, None)
