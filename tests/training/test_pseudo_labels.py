"""Labellers at their borders: probabilities, sizes, padding, reasons."""

import numpy as np
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.training.pseudo_labels import KEPT, make_pseudo_labeller, naive, threshold

SETTINGS = {"threshold": 0.95, "minimum_pixels": 10, "uncertain": "background"}


def two_classes(foreground):
    foreground = np.asarray(foreground, np.float32)
    return np.stack([1 - foreground, foreground], -1)


def some(n, p=0.99, rest=0.01):
    """A 4 x 5 image with `n` pixels of probability `p`."""
    foreground = np.full(20, rest, np.float32)
    foreground[:n] = p
    return two_classes(foreground.reshape(4, 5))


VALID = np.ones((4, 5), np.float32)


@pytest.mark.parametrize("above", [np.nextafter(np.float32(0.95), np.float32(1)), 0.951, 1.0])
def test_probabilities_above_the_threshold_are_foreground(above):
    answer = threshold(some(12, above), VALID, **SETTINGS)
    assert answer.labels.sum() == answer.pixels == 12
    assert answer.labels.dtype == np.uint8
    assert answer.kept


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_threshold_itself_is_not_above(dtype):
    answer = threshold(some(12, dtype(0.95)).astype(dtype), VALID, **SETTINGS | {"minimum_pixels": 0})
    assert answer.pixels == 0


@pytest.mark.parametrize(("n", "kept"), [(9, False), (10, True), (11, True), (0, False)])
def test_ten_pixels_are_enough_and_nine_are_not(n, kept):
    answer = threshold(some(n), VALID, **SETTINGS)
    assert answer.kept is kept
    assert answer.pixels == n
    assert answer.reason == (KEPT if kept else "fewer than 10 foreground pixels above 0.95")
    assert (answer.weights == (1 if kept else 0)).all()
    assert answer.weights.dtype == np.float32


def test_uncertain_pixels_are_background_or_ignored():
    probs = some(12)
    probs[3, 3:] = [0.3, 0.7]  # looks like foreground
    probs[3, 0] = [0.8, 0.2]  # looks like background, not surely
    background = threshold(probs, VALID, **SETTINGS)
    np.testing.assert_array_equal(background.labels[3], np.zeros(5))
    np.testing.assert_array_equal(background.weights, VALID)
    ignored = threshold(probs, VALID, **SETTINGS | {"uncertain": "ignore"})
    np.testing.assert_array_equal(ignored.weights[3], [0, 1, 1, 0, 0])
    np.testing.assert_array_equal(ignored.weights[:3], VALID[:3])
    np.testing.assert_array_equal(ignored.labels, background.labels)


def test_classes_are_told_apart():
    probs = np.full((4, 5, 3), 0.01, np.float32)
    probs[:2, :, 1], probs[2:3, :, 2], probs[3:, :, 0] = 0.98, 0.98, 0.98
    answer = threshold(probs, VALID, **SETTINGS)
    np.testing.assert_array_equal(answer.labels, np.repeat([1, 1, 2, 0], 5).reshape(4, 5))
    assert answer.pixels == 15


@pytest.mark.parametrize("name", ["threshold", "naive"])
def test_padding_is_never_labelled_and_never_trusted(name):
    valid = VALID.copy()
    valid[0] = 0
    answer = make_pseudo_labeller(name, SETTINGS)(some(20), valid)
    np.testing.assert_array_equal(answer.labels, valid)
    np.testing.assert_array_equal(answer.weights, valid)
    assert answer.pixels == 15


def test_pixels_in_the_padding_do_not_save_an_image():
    valid = VALID.copy()
    valid[0] = 0
    assert not threshold(some(14), valid, **SETTINGS).kept  # 5 of the 14 lie in the padding


def test_naive_takes_the_likelier_class_and_drops_nothing():
    answer = naive(some(3, 0.51), VALID)
    assert answer.labels.sum() == 3
    assert answer.kept
    assert (answer.weights == 1).all()
    assert naive(some(0), VALID).kept


def test_confidence_is_the_mean_over_the_foreground():
    probs = some(10, 0.96)
    probs[0, 0] = [0.0, 1.0]
    assert threshold(probs, VALID, **SETTINGS).confidence == pytest.approx(0.964)
    assert threshold(some(0), VALID, **SETTINGS).confidence == 0


def test_a_labeller_is_bound_to_its_settings():
    loose = make_pseudo_labeller("threshold", SETTINGS | {"threshold": 0.5, "minimum_pixels": 3})
    assert loose(some(3, 0.6), VALID).kept
    assert not make_pseudo_labeller("threshold", SETTINGS)(some(3, 0.6), VALID).kept


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("thresold", {}, "'thresold' is unknown: choose one of threshold, naive"),
        ("threshold", {"threshold": 1.0}, r"pseudo_labels\.threshold is 1\.0"),
        ("threshold", {"threshold": 0}, r"pseudo_labels\.threshold is 0"),
        ("threshold", {"uncertain": "maybe"}, "'maybe' is unknown: choose background or ignore"),
    ],
)
def test_wrong_settings_are_refused(name, change, message):
    with pytest.raises(UserError, match=message):
        make_pseudo_labeller(name, SETTINGS | change)
