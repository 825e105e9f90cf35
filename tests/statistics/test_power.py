import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.power import tt_solve_power

from fetal_jax.statistics.power import power_of, smallest_gain, subjects_needed


@pytest.mark.parametrize("n", [2, 3, 10, 40, 294])
def test_the_smallest_gain_is_that_of_statsmodels(n):
    effect = tt_solve_power(nobs=n, alpha=0.05, power=0.8, alternative="two-sided")
    assert smallest_gain(3.0, n) == pytest.approx(3 * effect, rel=5e-5)


def test_half_a_point_at_an_sd_of_three_needs_about_three_hundred_subjects():
    # By the normal distribution ((1.960 + 0.842) * 3 / 0.49)^2 = 294.2; the t distribution asks for three more.
    assert subjects_needed(0.49, 3.0) == 297
    assert smallest_gain(3.0, 297) <= 0.49 < smallest_gain(3.0, 296)
    assert smallest_gain(3.0, 40) == pytest.approx(1.363, abs=5e-4)


def test_the_power_is_the_share_of_significant_t_tests():
    rng = np.random.default_rng(0)
    differences = rng.normal(0.5, 1, (20_000, 20))
    t = differences.mean(1) / differences.std(1, ddof=1) * np.sqrt(20)
    assert power_of(0.5, 20) == pytest.approx((np.abs(t) > 2.0930).mean(), abs=0.01)
    assert power_of(0.0, 20) == pytest.approx(0.05, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.floats(1e-2, 1e4), st.floats(0.6, 0.95), st.sampled_from([0.01, 0.05, 0.1]))
def test_one_subject_less_is_too_few(gain, power, alpha):
    n = subjects_needed(gain, 1.0, power, alpha)
    assert power_of(gain, n, alpha) >= power
    assert n == 2 or power_of(gain, n - 1, alpha) < power
    assert subjects_needed(-gain, 1.0, power, alpha) == n


def test_edges():
    assert np.isnan(smallest_gain(1.0, 1))
    assert np.isnan(smallest_gain(float("nan"), 10))
    assert smallest_gain(0.0, 10) == 0
    assert subjects_needed(0.1, 0.0) == 2
    with pytest.raises(ValueError, match="gain is 0"):
        subjects_needed(0, 1.0)
