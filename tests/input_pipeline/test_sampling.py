"""Sampling: rare structures drawn more often, rare classes weighing more, by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from input_pipeline.sampling import class_weights, oversampled

SHOWS = [frozenset(shown) for shown in (["head"], ["head", "csp"], ["head", "lv"], ["head", "csp", "lv"], [])]


@pytest.mark.parametrize(
    ("structures", "factor", "expected"),
    [
        (("csp", "lv"), 3, [0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4]),
        (("csp",), 2, [0, 1, 1, 2, 3, 3, 4]),
        (("csp",), 1, [0, 1, 2, 3, 4]),
        ((), 3, [0, 1, 2, 3, 4]),
    ],
)
def test_images_with_rare_structures_come_several_times(structures, factor, expected):
    assert oversampled(SHOWS, structures, factor) == expected


@given(st.lists(st.sets(st.sampled_from(["csp", "lv", "head"])), max_size=30), st.integers(1, 5))
def test_an_image_is_drawn_with_probability_of_its_weight(sets, factor):
    shows = [frozenset({"csp", "lv"}), *map(frozenset, sets)]
    drawn = oversampled(shows, ("csp", "lv"), factor)
    weights = np.array([factor if {"csp", "lv"} & shown else 1 for shown in shows])
    np.testing.assert_allclose(np.bincount(drawn) / len(drawn), weights / weights.sum())


@pytest.mark.parametrize(
    ("structures", "factor", "message"),
    [
        (("csp",), 0, r"sampling\.factor is 0: it must be at least 1"),
        (("cps", "lv"), 3, r"sampling\.structures names 'cps', .*: choose from csp, head, lv"),
    ],
)
def test_what_cannot_be_oversampled_is_a_user_error(structures, factor, message):
    with pytest.raises(UserError, match=message):
        oversampled(SHOWS, structures, factor)


def test_no_labelled_image_shows_nothing():
    assert oversampled([], (), 3) == []
    with pytest.raises(UserError, match=r"'csp', .*: choose from nothing"):
        oversampled([], ("csp",), 3)


# 1 / (f + s), over their mean.
@pytest.mark.parametrize(
    ("pixels", "smoothing", "expected"),
    [
        ([50, 50], 0, [1, 1]),
        ([75, 25], 0, [0.5, 1.5]),  # 4/3, 4: mean 8/3
        ([50, 25, 25], 0, [0.6, 1.2, 1.2]),  # 2, 4, 4: mean 10/3
        ([75, 25], 0.25, [2 / 3, 4 / 3]),  # 1, 2: mean 3/2
        ([75, 0, 25], 0.0, [0.5, 0, 1.5]),  # the class that never occurs is not in the mean
        ([75, 0, 25], 0.25, [2 / 3, 0, 4 / 3]),
        ([0, 7], 0.5, [0, 1]),
    ],
)
def test_class_weights_by_hand(pixels, smoothing, expected):
    np.testing.assert_allclose(class_weights(np.array(pixels), smoothing), expected, rtol=1e-12)


def test_without_smoothing_every_class_has_the_same_sum_of_weights():
    pixels = np.array([60_000, 5_000, 400, 136])
    np.testing.assert_allclose(np.ptp(pixels * class_weights(pixels, 0.0)), 0, atol=1e-9)


@given(
    st.lists(st.integers(0, 2**50), min_size=1, max_size=9).filter(any),
    st.floats(0, 1e6),
)
def test_class_weights_are_finite_have_mean_one_and_fall_with_frequency(counts, smoothing):
    pixels = np.array(counts)
    weights = class_weights(pixels, smoothing)
    assert np.isfinite(weights).all()
    np.testing.assert_allclose(weights[pixels > 0].mean(), 1)
    assert (weights[pixels == 0] == 0).all()
    falling = weights[pixels > 0][np.argsort(pixels[pixels > 0])]
    assert (np.diff(falling) <= 0).all()


@pytest.mark.parametrize("smoothing", [-0.1, math.nan, math.inf])
def test_smoothing_below_nothing_is_a_user_error(smoothing):
    with pytest.raises(UserError, match=r"class_weights\.smoothing is"):
        class_weights(np.array([3, 1]), smoothing)


@pytest.mark.parametrize("pixels", [[0, 0], [3, -1]])
def test_pixels_that_cannot_be_counts_are_a_user_error(pixels):
    with pytest.raises(UserError, match=r"class_weights cannot be computed from the pixels \["):
        class_weights(np.array(pixels), 0.0)
