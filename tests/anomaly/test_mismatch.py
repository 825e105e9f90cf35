"""The thesis' score by hand, and its maps."""

import math

import numpy as np
import pytest

from fetal_jax.anomaly.mismatch import disagreement, mismatch_map, mismatch_score

CLASSES = ("background", "brain", "csp")
REFERENCE = np.array([[1, 1, 1, 1], [0, 2, 2, 0]])
PREDICTION = np.array([[1, 1, 1, 0], [0, 2, 1, 0]])


def test_the_score_is_the_share_of_mismatched_pixels():
    # Brain: one of its four is missed, one is invented. CSP: one of two is missed.
    assert mismatch_score(PREDICTION, REFERENCE, CLASSES) == {"brain": 2 / 4, "csp": 1 / 2}
    assert mismatch_score(REFERENCE, REFERENCE, CLASSES) == {"brain": 0, "csp": 0}


def test_absent_structures_are_never_taken_for_perfect_ones():
    nothing = np.zeros_like(REFERENCE)
    assert mismatch_score(nothing, REFERENCE, CLASSES) == {"brain": 1, "csp": 1}
    assert mismatch_score(REFERENCE, nothing, CLASSES) == {"brain": math.inf, "csp": math.inf}
    assert all(math.isnan(score) for score in mismatch_score(nothing, nothing, CLASSES).values())


def test_the_map_shows_where():
    np.testing.assert_array_equal(mismatch_map(PREDICTION, REFERENCE), [[0, 0, 0, 1], [0, 0, 1, 0]])


def test_the_smooth_map_is_the_probability_of_another_class():
    probs = np.array([[[0.1, 0.7, 0.2], [0.5, 0.5, 0.0]], [[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]])
    reference = np.array([[1, 0], [2, 1]])
    np.testing.assert_allclose(disagreement(probs, reference), [[0.3, 0.5], [0, 1]])


def test_the_smooth_map_of_sure_answers_is_the_map():
    sure = np.eye(3)[PREDICTION]
    np.testing.assert_array_equal(disagreement(sure, REFERENCE), mismatch_map(PREDICTION, REFERENCE))


@pytest.mark.parametrize(
    ("prediction", "reference", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), r"shape \(2, 3\), the reference \(3, 2\)"),
        (np.full((2, 2), 3), np.zeros((2, 2), int), "the prediction has id 3, but there are 3 classes"),
        (np.zeros((2, 2), int), np.full((2, 2), -1), "the reference has id -1, but there are 3 classes"),
    ],
)
def test_masks_that_do_not_fit_are_refused(prediction, reference, message):
    with pytest.raises(ValueError, match=message):
        mismatch_score(prediction, reference, CLASSES)


def test_a_smooth_map_needs_a_probability_for_every_class():
    with pytest.raises(ValueError, match="the reference has id 2, but there are 2 classes"):
        disagreement(np.full((2, 4, 2), 0.5), REFERENCE)
    with pytest.raises(ValueError, match="shape"):
        disagreement(np.full((4, 4, 3), 1 / 3), REFERENCE)
