"""Curves and calibration: by hand, against scikit-learn, and what is undefined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, confusion_matrix, roc_auc_score

from fetal_jax.metrics.curves import (
    POINTS,
    auc_pr,
    auc_roc,
    brier,
    confusion,
    ece,
    precision_recall,
    reliability,
    roc,
)
from fetal_jax.metrics.pixel_histogram import LEVELS, bin_edges, pixel_histogram


def of(foreground, labels):
    """The histogram of two classes from the probability of one."""
    probs = np.asarray(foreground, np.float32)
    return pixel_histogram(np.stack([1 - probs, probs], -1), np.asarray(labels))


def network(seed, pixels=4000, num_classes=4, sharpness=2.0):
    """Probabilities that have to do with the labels, as a network's, many of them near 0 and 1."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(num_classes, pixels, p=[0.7, *[0.3 / (num_classes - 1)] * (num_classes - 1)])
    logits = sharpness * (rng.normal(size=(pixels, num_classes)) + 1.5 * np.eye(num_classes)[labels])
    exp = np.exp(logits)
    return (exp / exp.sum(-1, keepdims=True)).astype(np.float32), labels


def level(probs):
    """A probability as a histogram sees it."""
    return np.floor(probs * np.float32(LEVELS) + np.float32(0.5)).astype(int)


def binned(probs):
    """A probability as the curves see it."""
    return np.searchsorted(bin_edges(), probs, side="right")


def test_curves_of_five_pixels_by_hand():
    # From the top: a hit; a hit and a false alarm that are one tie; a false alarm; a hit.
    five = of([0.9, 0.6, 0.6, 0.4, 0.2], [1, 1, 0, 0, 1])
    (curve,) = roc(five)
    np.testing.assert_allclose(curve.x, [0, 0, 0.5, 1, 1])
    np.testing.assert_allclose(curve.y, [0, 1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.threshold[1:], [0.9, 0.6, 0.4, 0.2], atol=0.003)
    assert auc_roc(five) == pytest.approx([0.5 * (1 / 3 + 2 / 3) / 2 + 0.5 * 2 / 3])
    (curve,) = precision_recall(five)
    np.testing.assert_allclose(curve.x, [0, 1 / 3, 2 / 3, 2 / 3, 1])
    np.testing.assert_allclose(curve.y, [1, 1, 2 / 3, 1 / 2, 3 / 5])
    assert auc_pr(five) == pytest.approx([(1 + 2 / 3 + 3 / 5) / 3])


@pytest.mark.parametrize("sharpness", [1, 4, 12], ids=["hesitant", "trained", "overconfident"])
@pytest.mark.parametrize("num_classes", [2, 4])
def test_areas_are_those_of_scikit_learn(num_classes, sharpness):
    probs, labels = network(0, num_classes=num_classes, sharpness=sharpness)
    counted = pixel_histogram(probs, labels)
    for ours, theirs in ((auc_roc(counted), roc_auc_score), (auc_pr(counted), average_precision_score)):
        assert ours.shape == (num_classes - 1,)
        for c in range(1, num_classes):
            assert ours[c - 1] == pytest.approx(theirs(labels == c, binned(probs[:, c])), abs=1e-12)
            assert ours[c - 1] == pytest.approx(theirs(labels == c, probs[:, c]), abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=12))
def test_ties_are_as_in_scikit_learn(pixels):
    scores, labels = (np.array(column) for column in zip(*pixels, strict=True))
    counted = of(scores / 4, labels.astype(int))
    if labels.all() or not labels.any():
        assert np.isnan(auc_roc(counted)[0])
    else:
        assert auc_roc(counted)[0] == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
        assert auc_pr(counted)[0] == pytest.approx(average_precision_score(labels, scores), abs=1e-12)


def test_the_best_the_worst_and_the_blind_network():
    labels = np.array([0, 0, 0, 1])
    best, worst, blind = of(labels, labels), of(1 - labels, labels), of(np.full(4, 0.5), labels)
    assert [float(auc_roc(each)[0]) for each in (best, worst, blind)] == [1, 0, 0.5]
    assert [float(auc_pr(each)[0]) for each in (best, worst, blind)] == [1, 0.25, 0.25]
    assert [brier(each) for each in (best, worst, blind)] == [0, 1, 0.25]
    assert [ece(each) for each in (best, worst, blind)] == [0, 1, 0.25]  # blind: half sure, and right in 3 of 4


def test_a_class_without_pixels_is_undefined():
    probs, labels = network(1, 50)
    without = pixel_histogram(probs, np.where(labels == 2, 0, labels))
    assert np.isnan(auc_roc(without)).tolist() == np.isnan(auc_pr(without)).tolist() == [False, True, False]
    for curve in (roc(without)[1], precision_recall(without)[1]):
        assert curve.x.size == curve.y.size == curve.threshold.size == 0
    assert np.isnan(confusion(without)[2]).all()
    everywhere = of([0.2, 0.8], [1, 1])
    assert np.isnan(auc_roc(everywhere)[0])
    assert auc_pr(everywhere)[0] == 1


def test_a_drawn_curve_is_short_and_true():
    probs, labels = network(2)
    counted = pixel_histogram(probs, labels)
    for c, (drawn, precise) in enumerate(zip(roc(counted), precision_recall(counted), strict=True), start=1):
        assert (drawn.x[[0, -1]].tolist(), drawn.y[[0, -1]].tolist()) == ([0, 1], [0, 1])
        assert (precise.x[[0, -1]].tolist(), precise.y[0]) == ([0, 1], 1)
        assert precise.y[-1] == pytest.approx((labels == c).mean())
        assert np.trapezoid(drawn.y, drawn.x) == pytest.approx(auc_roc(counted)[c - 1], abs=5e-3)
        for curve in (drawn, precise):
            assert 20 < curve.x.size == curve.y.size == curve.threshold.size <= POINTS + 1
            assert (np.diff(curve.x) >= 0).all()
            assert (np.diff(curve.threshold) < 0).all()
        for x, y, threshold in zip(drawn.x[1:], drawn.y[1:], drawn.threshold[1:], strict=True):
            above = probs[:, c] >= threshold
            assert y == pytest.approx(above[labels == c].mean())
            assert x == pytest.approx(above[labels != c].mean())


def test_calibration_is_that_of_scikit_learn():
    probs, labels = network(3, sharpness=4.0)
    counted = pixel_histogram(probs, labels)
    confidence, correct = level(probs.max(-1)) / LEVELS, probs.argmax(-1) == labels
    accuracy, mean_confidence = calibration_curve(correct, np.minimum(confidence + 1e-9, 1), n_bins=15)
    got = reliability(counted)
    occupied = got.share > 0
    assert occupied.sum() == len(accuracy) > 8
    np.testing.assert_allclose(got.accuracy[occupied], accuracy)
    np.testing.assert_allclose(got.confidence[occupied], mean_confidence, atol=1e-8)
    assert np.isnan(got.accuracy[~occupied]).all()
    assert got.share.sum() == pytest.approx(1)
    assert ece(counted) == pytest.approx(np.sum(got.share[occupied] * np.abs(accuracy - mean_confidence)))


@pytest.mark.parametrize("num_classes", [2, 4])
def test_the_brier_score_is_that_of_scikit_learn(num_classes):
    probs, labels = network(4, num_classes=num_classes)
    exact = probs.astype(float) / probs.sum(-1, keepdims=True, dtype=float)
    theirs = brier_score_loss(labels, exact, scale_by_half=True, labels=range(num_classes))
    assert brier(pixel_histogram(probs, labels)) == pytest.approx(theirs, abs=1 / LEVELS)


def test_overconfidence_is_what_the_calibration_error_measures():
    rng = np.random.default_rng(5)
    honest = rng.random(20_000)
    labels = (rng.random(20_000) < honest).astype(int)
    assert ece(of(honest, labels)) < 0.01
    sure = np.where(honest > 0.5, 0.95, 0.05)  # is right in 3 of 4
    assert ece(of(sure, labels)) == pytest.approx(0.2, abs=0.01)


def test_confusion_is_by_row():
    probs, labels = network(6, 300)
    expected = confusion_matrix(labels, probs.argmax(-1), normalize="true")
    np.testing.assert_allclose(confusion(pixel_histogram(probs, labels)), expected)
