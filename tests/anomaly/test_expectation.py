"""Centres and spreads of known samples, with and without outliers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm
from statsmodels.robust.norms import HuberT
from statsmodels.robust.robust_linear_model import RLM

from fetal_jax.anomaly import expectation


def sample(n=400, outliers=0):
    rng = np.random.default_rng(0)
    t = rng.uniform(-1, 1, n)
    values = 10 + 3 * t - 2 * t**2 + (0.5 + 0.3 * t) * rng.standard_normal(n)
    values[:outliers] += 30
    return values, t


@pytest.mark.parametrize("outliers", [0, 40])
def test_centre_and_spread_follow_the_age_whatever_a_tenth_of_outliers_does(outliers):
    fitted = expectation.fit(*sample(outliers=outliers), 400)
    for t in (-0.8, 0.0, 0.8):
        centre, spread = fitted.at(t)
        assert centre == pytest.approx(10 + 3 * t - 2 * t**2, abs=0.25)  # least squares would be 3 off
        assert spread == pytest.approx(0.5 + 0.3 * t, abs=0.2 if outliers else 0.06)


@pytest.mark.parametrize("outliers", [0, 40])
def test_the_centre_is_that_of_statsmodels(outliers):
    values, t = sample(outliers=outliers)
    other = RLM(values, np.polynomial.polynomial.polyvander(t, 2), M=HuberT()).fit().params
    np.testing.assert_allclose(expectation.huber(values, t, 2), other, rtol=1e-4)


def test_z_scores_of_normals_are_standard_normal():
    values, t = sample(2000)
    fitted = expectation.fit(values, t, len(t))
    z = np.array([fitted.z(v, x) for v, x in zip(values, t, strict=True)])
    assert abs(z.mean()) < 0.05
    assert z.std() == pytest.approx(1, abs=0.05)
    assert math.isnan(fitted.z(math.nan, 0.0))


def test_normals_that_are_all_alike_have_a_spread_above_zero():
    fitted = expectation.fit(np.full(20, 4.0), np.linspace(-1, 1, 20), 20)
    assert fitted.at(0.3) == pytest.approx((4.0, 0.02))


def test_one_age_has_one_value():
    fitted = expectation.fit(np.array([1.0, 2, 3, 2, 1, 2, 3, 2]), np.zeros(8), 8)
    assert fitted.centre == pytest.approx([2])
    assert len(fitted.spread) == 1


@pytest.mark.slow
def test_a_new_normal_is_as_likely_as_its_z_says_though_few_were_seen():
    """At the first age of 12, were residuals and centre taken as certain, 17 % would lie beyond 2.6 SD; few should."""
    rng, t, z = np.random.default_rng(1), np.linspace(-1, 1, 12), []
    for _ in range(300):
        z.append(expectation.fit(rng.standard_normal(12), t, 12).z(rng.standard_normal(), -1.0))
    assert np.mean(np.abs(z) > 2.6) < 0.07


def test_beyond_the_ages_everything_is_less_surprising():
    fitted = expectation.fit(*sample(60), 60)
    off = [abs(fitted.z(fitted.at(t)[0] + 5 * fitted.at(t)[1], t)) for t in (0.0, 1.5, 3.0)]
    assert off[0] == pytest.approx(5, abs=0.3)
    assert off[0] > off[1] > off[2]


def test_three_images_of_a_subject_are_not_three_subjects():
    values, t = sample(30)
    alone = expectation.fit(values, t, 30)
    thrice = expectation.fit(np.repeat(values, 3), np.repeat(t, 3), 30)
    np.testing.assert_allclose(thrice.uncertainty, alone.uncertainty, rtol=1e-9)


def test_errors_add_as_variances():
    values, t = sample()
    normal = expectation.fit(values, t, len(t))
    wider = normal.with_error(bias=0.7, sd=1.2)
    for age in (-1.0, 1.0):
        (centre, spread), (before, narrow) = wider.at(age), normal.at(age)
        assert centre == pytest.approx(before + 0.7)
        assert spread == pytest.approx(math.hypot(narrow, 1.2))


def test_robust_moments_ignore_a_failure():
    values = norm.ppf(np.linspace(0.001, 0.999, 999))
    median, sd = expectation.robust(np.append(3 + 2 * values, 1e6))
    assert median == pytest.approx(3, abs=0.01)
    assert sd == pytest.approx(2, abs=0.02)


def test_a_structure_that_every_normal_shows_surprises_when_it_is_missing():
    # The rule of succession: 1 in 100 of 98 normals; twice 2.576 SD hold 1 %.
    assert expectation.surprise(98, 98, seen=False) == pytest.approx(-2.576, abs=1e-3)
    assert expectation.surprise(98, 98, seen=True) == pytest.approx(0, abs=0.02)
    assert expectation.surprise(0, 98, seen=True) == pytest.approx(2.576, abs=1e-3)


@given(n=st.integers(1, 500), k=st.integers(0, 500))
def test_surprise_is_the_same_for_a_structure_and_its_absence(n, k):
    k = min(k, n)
    assert expectation.surprise(k, n, seen=True) == pytest.approx(-expectation.surprise(n - k, n, seen=False))
