"""Uncertainty: numbers worked out by hand, and the order that they put images into."""

import dataclasses
import math

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from fetal_jax.evaluation.uncertainty import (
    agreement,
    band_entropy,
    entropy,
    expected_dice,
    member_probabilities,
    mutual_information,
    risk_coverage,
    variance,
)
from fetal_jax.inference.ensemble import ensemble
from fetal_jax.inference.segmenter import Segmenter

NAN = float("nan")


def probabilities(*foreground):
    """Two classes; a number a pixel."""
    p = np.array(foreground, np.float32)
    return np.stack([1 - p, p], -1)


def test_entropy_is_a_fraction_of_that_of_a_guess():
    probs = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0, 0]])
    np.testing.assert_allclose(entropy(probs), [0, 1, 0.5])


def test_expected_dice_by_hand():
    # The mask has p = 0.9 and 0.6, all p together are 0.9 + 0.6 + 0.2 + 0.1: 2 * 1.5 / (1.8 + 2).
    np.testing.assert_allclose(expected_dice(probabilities([0.9, 0.6], [0.2, 0.1])), [3.0 / 3.8], rtol=1e-6)
    np.testing.assert_allclose(expected_dice(probabilities([1.0, 0.0])), [1.0])
    assert np.isnan(expected_dice(probabilities([0.4, 0.0]))).all()
    cleaned = expected_dice(probabilities([0.9, 0.6], [0.2, 0.1]), np.array([[1, 0], [0, 0]]))
    np.testing.assert_allclose(cleaned, [1.8 / 2.8], rtol=1e-6)


def test_expected_dice_is_near_the_mean_of_dice_under_the_probabilities():
    rng = np.random.default_rng(0)
    p = rng.random((30, 30)) ** 3
    p[10:20, 10:20] = rng.uniform(0.4, 1, (10, 10))
    mask = p > 0.5
    truths = rng.random((400, 30, 30)) < p
    dice = 2 * (truths & mask).sum((1, 2)) / (truths.sum((1, 2)) + mask.sum())
    assert expected_dice(probabilities(*p))[0] == pytest.approx(dice.mean(), abs=0.005)


def test_the_band_is_along_the_outline():
    p = np.full((9, 9), 0.0)
    p[3:6, 3:6] = 1
    assert band_entropy(probabilities(*p), width_px=1) == [0]
    p[4, 4] = 0.5001  # the middle: 2 pixels from the outside
    np.testing.assert_allclose(band_entropy(probabilities(*p), width_px=1), [0], atol=1e-6)
    np.testing.assert_allclose(band_entropy(probabilities(*p), width_px=2), [1 / (9 + 24 + 4)], atol=1e-6)
    assert np.isnan(band_entropy(np.array([[[0.9, 0.1, 0.0]]]))).all()
    assert np.isnan(band_entropy(probabilities([1.0, 1.0]))).all()  # no outline


def test_members_that_disagree_are_uncertain_and_those_that_do_not_know_agree():
    sure = np.stack([probabilities([1.0, 1.0, 0.5]), probabilities([1.0, 0.0, 0.5])])
    np.testing.assert_allclose(variance(sure), [[0, 0.25, 0]], atol=1e-7)
    np.testing.assert_allclose(mutual_information(sure), [[0, 1, 0]], atol=1e-7)
    np.testing.assert_allclose(entropy(sure.mean(0)), [[0, 1, 1]], atol=1e-7)


def test_agreement_is_the_mean_dice_of_pairs():
    one, two, none = probabilities([1.0, 1, 0, 0]), probabilities([1.0, 0, 0, 0]), probabilities([0.0, 0, 0, 0])
    np.testing.assert_allclose(agreement(np.stack([one, one])), [1])
    np.testing.assert_allclose(agreement(np.stack([one, two, none])), [(2 / 3 + 0 + 0) / 3])
    np.testing.assert_allclose(agreement(np.stack([one, none, none])), [0])  # the pair that finds nothing is left out
    assert np.isnan(agreement(np.stack([none, none]))).all()


def test_risk_coverage_by_hand():
    # Kept in the order 0.1, 0.5, 0.3, 0.0 of risks.
    curve = risk_coverage([0.9, 0.1, 0.5, 0.7], [0.1, 0.0, 0.3, 0.5])
    np.testing.assert_allclose(curve.coverage, [0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(curve.risk, [0.1, 0.6 / 2, 0.9 / 3, 0.9 / 4])
    assert curve.aurc == pytest.approx((0.1 + 0.3 + 0.3 + 0.225) / 4)
    assert curve.oracle == pytest.approx((0 + 0.05 + 0.4 / 3 + 0.225) / 4)
    assert curve.random == pytest.approx(0.225)
    assert curve.normalised_gain == pytest.approx((curve.random - curve.aurc) / (curve.random - curve.oracle))
    assert curve.n_undefined == 0


def test_the_oracle_gains_all_and_ties_gain_nothing():
    risk = np.array([0.3, 0.1, 0.9, 0.2])
    assert risk_coverage(-risk, risk).normalised_gain == pytest.approx(1)
    assert risk_coverage(risk, risk).normalised_gain < 0
    tied = risk_coverage(np.ones(4), risk)
    np.testing.assert_allclose(tied.risk, risk.mean())
    assert tied.normalised_gain == pytest.approx(0)
    assert math.isnan(risk_coverage(risk, np.full(4, 0.2)).normalised_gain)


def test_undefined_images_are_left_out_and_counted():
    whole, holed = risk_coverage([2, 1], [0.1, 0.3]), risk_coverage([2, NAN, 1, 5], [0.1, 0.9, 0.3, NAN])
    np.testing.assert_array_equal(whole.risk, holed.risk)
    assert (whole.n_undefined, holed.n_undefined) == (0, 2)


def test_what_cannot_be_ordered_is_refused():
    with pytest.raises(ValueError, match="2 confidences and 1 risks"):
        risk_coverage([1, 2], [0.1])
    with pytest.raises(ValueError, match="no image has both a confidence and a risk"):
        risk_coverage([NAN, 1], [0.1, NAN])


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=12), st.randoms())
def test_no_order_beats_the_oracle_and_ties_need_none(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    (confidence, risk), (confidence2, risk2) = np.array(pairs).T, np.array(shuffled).T
    curve = risk_coverage(confidence, risk)
    assert curve.oracle <= curve.aurc + 1e-12
    assert curve.risk[-1] == pytest.approx(curve.random)
    np.testing.assert_allclose(risk_coverage(confidence2, risk2).risk, curve.risk, atol=1e-12)


@pytest.fixture(scope="module")
def network(brain_card, brain_network):
    return Segmenter(brain_card, brain_network)


@pytest.mark.slow
def test_draws_of_the_dropout_differ_and_come_again(network, noisy_picture):
    members = member_probabilities(network.mc_dropout(3, seed=5), noisy_picture)
    assert members.shape == (3, 60, 90, 4)
    np.testing.assert_allclose(members.sum(-1), 1, atol=1e-5)
    assert variance(members).max() > 1e-3
    assert mutual_information(members).min() > -1e-6
    np.testing.assert_array_equal(member_probabilities(network.mc_dropout(2, seed=5), noisy_picture), members[:2])
    assert np.abs(member_probabilities(network.mc_dropout(1, seed=6), noisy_picture) - members[0]).max() > 1e-3


def test_tta_transforms_give_members_too(network, noisy_picture):
    members = member_probabilities(network.with_tta("flips").tta_members(), noisy_picture)
    assert variance(members).max() > 1e-3
    together = ensemble(network.with_tta("flips").tta_members())(noisy_picture).probs
    np.testing.assert_allclose(together, members.mean(0), atol=1e-6)


def test_a_network_without_dropout_has_no_mc_dropout(brain_card, brain_network):
    card = dataclasses.replace(brain_card, model=brain_card.model | {"dropout": 0.0})
    with pytest.raises(UserError, match=r"plain_unet has no dropout to draw from: set model\.dropout"):
        Segmenter(card, brain_network).mc_dropout(2)


def test_draws_leave_the_network_as_it_was(network, brain_network, noisy_picture):
    before = jax.tree.map(np.copy, brain_network)
    plain = network(noisy_picture).probs
    member_probabilities(network.mc_dropout(1), noisy_picture)
    jax.tree.map(np.testing.assert_array_equal, brain_network, before)
    np.testing.assert_array_equal(network(noisy_picture).probs, plain)
