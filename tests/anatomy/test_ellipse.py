"""The ellipse behind an outline or a filled mask: measured, filled, and fitted without bias."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.anatomy.ellipse import Ellipse, bounding_box, fit_mask, fit_outline, largest_component
from input_pipeline.builders.hc18.dummy import SHAPE, dummy_data
from input_pipeline.builders.hc18.source import read_source


def outline_of(ellipse, shape, width=3):
    radius = ellipse.radius(*np.ogrid[: shape[0], : shape[1]])
    return np.abs(radius - 1) * min(ellipse.semi_axes) <= width / 2


def test_the_circumference_of_a_circle_and_of_a_known_ellipse():
    assert Ellipse((0.0, 0.0), (10.0, 10.0), 0.3).circumference() == pytest.approx(20 * np.pi)
    assert Ellipse((0.0, 0.0), (3.0, 5.0), 0.0).circumference() == pytest.approx(25.526998863398131)  # by quadrature
    assert Ellipse((0.0, 0.0), (5.0, 3.0), 0.0).circumference() == pytest.approx(25.526998863398131)


def test_fill_covers_the_area_and_follows_the_angle():
    ellipse = Ellipse((50.0, 60.0), (40.0, 20.0), np.pi / 4)  # long axis down and to the right
    mask = ellipse.fill((100, 120))
    assert mask.sum() == pytest.approx(np.pi * 40 * 20, rel=0.005)
    assert mask[50 + 25, 60 + 25] == 1  # 35.4 along the long axis
    assert mask[50 + 25, 60 - 25] == 0
    assert mask.dtype == np.uint8


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.3, -0.7])
@pytest.mark.parametrize("centre", [(54.0, 80.0), (54.0, 22.0), (29.0, 100.0)])
def test_the_fit_finds_the_ellipse_also_when_it_leaves_the_frame(angle, centre):
    truth = Ellipse(centre, (42.0, 33.0), angle)
    found = fit_outline(outline_of(truth, SHAPE))
    assert found.circumference() == pytest.approx(truth.circumference(), rel=0.01)
    mask, expected = found.fill(SHAPE), truth.fill(SHAPE)
    assert 2 * (mask & expected).sum() / (mask.sum() + expected.sum()) > 0.99


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: m[5, 5:10].fill(True), "has 5 outline pixels, too few"),
        (lambda m: m[20, 5:90].fill(True), "line"),
        (lambda m: m[10:60, 20:90].fill(True), "not a filled mask"),
    ],
)
def test_what_is_no_outline_is_refused(draw, message):
    mask = np.zeros(SHAPE, bool)
    draw(mask)
    with pytest.raises(ValueError, match=message):
        fit_outline(mask)


def distance(a, b):
    return np.hypot(*np.subtract(a.centre, b.centre))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    centre=st.tuples(st.floats(125, 135), st.floats(145, 155)),
    major=st.floats(40, 118),
    ratio=st.floats(0.65, 1),
    angle=st.floats(-np.pi, np.pi),
)
def test_a_filled_ellipse_is_found_again_without_the_bias_of_half_a_pixel(centre, major, ratio, angle):
    truth = Ellipse(centre, (major, major * ratio), angle)
    found = fit_mask(truth.fill((260, 300)).astype(bool))
    assert found.circumference() == pytest.approx(truth.circumference(), rel=0.003)
    assert distance(found, truth) < 0.1


@pytest.mark.slow
def test_over_many_ellipses_the_circumference_has_no_bias():
    rng, errors = np.random.default_rng(0), []
    for _ in range(100):
        truth = Ellipse(tuple(rng.uniform(98, 102, 2)), (rng.uniform(40, 90), rng.uniform(40, 90)), rng.uniform(0, 3))
        errors.append(fit_mask(truth.fill((200, 200)).astype(bool)).circumference() - truth.circumference())
    # Half a pixel of radius would be 3.1.
    assert abs(np.mean(errors)) < 0.05


def test_what_the_grid_does_to_a_fit_is_undone():
    """Least squares alone have an SD of 0.02 pixels in these semi-axes, and half of that is left at the smallest."""
    rng, errors = np.random.default_rng(1), []
    for _ in range(60):
        truth = Ellipse(
            tuple(rng.uniform(129, 131, 2)), (rng.uniform(100, 120), rng.uniform(80, 99)), rng.uniform(0, 3)
        )
        errors.append(np.subtract(fit_mask(truth.fill((260, 260)).astype(bool)).semi_axes, truth.semi_axes))
    assert np.std(errors) < 0.006
    assert np.abs(errors).max() < 0.03


def test_a_rough_mask_is_moved_by_no_more_than_the_grid_could():
    """The correction is that of the ellipse, whatever the mask: no spur or dent is taken for the grid's doing."""
    truth = Ellipse((130.0, 131.0), (100.0, 80.0), 0.3)
    noise = np.random.default_rng(0).standard_normal((260, 260))
    rough = (truth.radius(*np.ogrid[:260, :260]) + 0.02 * cv2.GaussianBlur(noise, (0, 0), 3) * 10 <= 1).astype(bool)
    found = fit_mask(largest_component(rough))
    np.testing.assert_allclose(found.semi_axes, truth.semi_axes, atol=1.5)
    assert fit_mask(largest_component(rough)) == found


@pytest.mark.parametrize(("share_outside", "pixels"), [(0.1, 0.2), (0.25, 0.2), (0.4, 0.7)])
@pytest.mark.parametrize("angle", [-0.3, 0.0, 0.2])
def test_a_head_that_leaves_the_frame_is_fitted_to_the_border_that_is_seen(share_outside, pixels, angle):
    truth = Ellipse((120.0, 100 * (1 - 2 * share_outside)), (100.0, 78.0), angle)
    mask = truth.fill((240, 300)).astype(bool)
    assert mask[:, 0].any()
    found = fit_mask(mask)
    assert found.circumference() == pytest.approx(truth.circumference(), rel=0.005)
    assert distance(found, truth) < pixels


def test_holes_of_a_mask_have_no_part_in_its_border():
    truth = Ellipse((54.0, 80.0), (42.0, 33.0), 0.4)
    mask = truth.fill(SHAPE).astype(bool)
    whole = fit_mask(mask)
    mask[50:60, 70:90] = False
    assert fit_mask(mask) == whole


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda m: None, "has 0 border points, too few"),
        (lambda m: m.fill(True), "has 0 border points, too few"),
        (lambda m: m[5, 5:10].fill(True), "has 12 border points, too few"),
        (lambda m: m[:50].fill(True), "line"),
    ],
    ids=["empty", "full", "speck", "half plane"],
)
def test_a_mask_without_an_elliptic_border_is_refused(draw, message):
    mask = np.zeros(SHAPE, bool)
    draw(mask)
    with pytest.raises(ValueError, match=message):
        fit_mask(mask)


def test_the_filled_reference_gives_the_published_circumference(tmp_path):
    dummy_data(tmp_path / "published")
    for head in read_source(tmp_path / "published").items:
        found = fit_mask(head.ellipse.fill(head.shape).astype(bool))
        assert found.circumference() * head.pixel_size_mm == pytest.approx(head.hc_mm, rel=0.004)


def test_the_longer_semi_axis_of_a_mask_comes_first():
    found = fit_mask(Ellipse((130.0, 131.0), (80.0, 100.0), 0.3).fill((260, 260)).astype(bool))
    assert found.semi_axes == (pytest.approx(100, abs=0.05), pytest.approx(80, abs=0.05))
    assert found.angle == pytest.approx(0.3 + np.pi / 2, abs=1e-3)


def test_the_outline_lies_on_the_ellipse():
    ellipse = Ellipse((50.0, 60.0), (40.0, 20.0), 0.7)
    points = ellipse.outline(100)
    np.testing.assert_allclose(ellipse.radius(points[:, 0], points[:, 1]), 1)
    polygon = np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).sum()
    assert polygon == pytest.approx(ellipse.circumference(), rel=1e-3)


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0), (0.2, 0.2), (0.3, 0.7), (0.7, 0.3)])
@pytest.mark.parametrize("semi_axes", [(40.0, 20.0), (20.0, 40.0), (30.0, 30.0)])
def test_an_ellipse_in_mm_is_the_same_curve(semi_axes, spacing_mm):
    ellipse = Ellipse((50.0, 60.0), semi_axes, 2.1)
    scaled = ellipse.in_mm(spacing_mm)
    points = ellipse.outline(100) * spacing_mm
    np.testing.assert_allclose(scaled.radius(points[:, 0], points[:, 1]), 1)
    assert scaled.semi_axes[0] >= scaled.semi_axes[1]
    assert np.prod(scaled.semi_axes) == pytest.approx(np.prod(semi_axes) * np.prod(spacing_mm))
    assert 0 <= scaled.angle < np.pi


def test_the_largest_piece_is_the_one_of_most_pixels():
    mask = np.zeros((30, 40), bool)
    assert not largest_component(mask).any()
    mask[2:4, 2:30] = True
    np.testing.assert_array_equal(largest_component(mask), mask)
    mask[10:20, 5:15] = mask[20, 15] = True  # touches at a corner
    found = largest_component(mask)
    assert found.sum() == 101
    assert found[20, 15]
    assert not found[:5].any()


def test_the_bounding_box_stays_in_the_frame():
    mask = np.zeros((30, 40), bool)
    mask[0:5, 38] = True
    assert mask[bounding_box(mask)].shape == (5, 1)
    assert mask[bounding_box(mask, margin=2)].shape == (7, 4)
