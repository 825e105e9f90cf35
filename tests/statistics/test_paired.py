import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from fetal_jax.statistics.paired import Paired, effect_interval, holm, p_in_words, paired

# Student 1908 (sleep): extra hours of sleep of ten patients under two drugs.
DRUG_A = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
DRUG_B = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def signed(differences):
    """The comparison of two results with these differences."""
    differences = np.asarray(differences, float)
    return paired(np.full(len(differences), 0.5), 0.5 + differences)


def signed_rank_p(d):
    """Two-sided, by looking at every pattern of signs."""
    d = np.asarray(d)[np.asarray(d) != 0]
    ranks = stats.rankdata(np.abs(d))
    sums = np.array([np.dot(signs, ranks) for signs in itertools.product((-1, 1), repeat=len(d))])
    return np.mean(np.abs(sums) >= abs(np.dot(np.sign(d), ranks)) - 1e-9)


def test_students_own_example():
    # R's t.test(a, b, paired = TRUE): t = -4.0621, df = 9, p = 0.002833, interval 0.7001142 to 2.4598858.
    result = paired(DRUG_A, DRUG_B)
    assert (result.n, result.n_zeros, result.n_dropped) == (10, 1, 0)
    assert (result.mean_a, result.mean_b, result.difference) == pytest.approx((0.75, 2.33, 1.58))
    assert (result.low, result.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)
    assert result.t_p == pytest.approx(0.002833, abs=5e-7)
    assert result.effect == pytest.approx(4.0621 / math.sqrt(10), abs=1e-4)
    assert result.wilcoxon_p == pytest.approx(signed_rank_p(DRUG_B - DRUG_A)) == pytest.approx(2 / 2**9)
    assert result.smallest_p == 2 / 2**9
    assert result.rank_effect == 1
    assert result.verdict() == "b is better (p = 0.0039)"


def test_permutation_looks_at_every_pattern_of_signs_of_few_subjects():
    d = np.array([0.03, -0.01, 0.02, 0.05, 0.04, -0.02])
    sums = np.array([np.dot(signs, d) for signs in itertools.product((-1, 1), repeat=6)])
    assert signed(d).permutation_p == pytest.approx(np.mean(np.abs(sums) >= d.sum() - 1e-12))


def test_permutation_of_many_subjects_is_near_the_t_test_and_repeats_with_its_seed():
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, 60), rng.normal(0.25, 1, 60)
    first = paired(a, b, seed=1)
    assert first.permutation_p == pytest.approx(first.t_p, abs=0.015)
    assert paired(a, b, seed=1) == first
    assert paired(a, b, seed=2).permutation_p != first.permutation_p


def test_five_subjects_cannot_reach_what_003_claims():
    result = signed([0.01, 0.02, 0.03, 0.04, 0.05])
    assert result.wilcoxon_p == result.smallest_p == result.permutation_p == 0.0625
    assert result.t_p < 0.05
    assert not result.can_reach(0.05)
    assert result.can_reach(0.1)
    assert result.verdict() == "n = 5 cannot reach p < 0.05 by Wilcoxon (at least 0.062)"
    assert signed([0.01, 0.02, 0.03, 0.04, 0.05, 0.06]).can_reach(0.05)


def test_zeros_are_left_out_and_count_as_fewer_subjects():
    d = [0.01, 0.02, 0.03, 0.04, 0.05, 0, 0, 0]
    result = signed(d)
    assert (result.n, result.n_zeros, result.smallest_p) == (8, 3, 0.0625)
    assert result.wilcoxon_p == pytest.approx(signed_rank_p(d))
    assert not result.can_reach()


def test_differences_that_are_equal_but_for_rounding_are_ties():
    a, b = np.array([0.1, 0.7, 0.3, 0.9, 0.4]), np.array([0.2, 0.8, 0.4, 1.0, 0.3])
    assert len({*(b - a)[:4]}) > 1
    assert paired(a, b).wilcoxon_p == pytest.approx(signed_rank_p(np.round(b - a, 6)))


def test_subjects_are_the_units_not_their_images():
    a = np.array([0.5, 0.7, 0.6, 0.8])
    b = np.array([0.6, 0.6, 0.9, 0.9])
    result = paired(a, b, ["x", "x", "y", "z"])
    assert (result.n, result.n_images) == (3, 4)
    assert (result.mean_a, result.mean_b) == pytest.approx(((0.6 + 0.6 + 0.8) / 3, (0.6 + 0.9 + 0.9) / 3))
    assert result.n_zeros == 1
    order = [2, 0, 3, 1]
    assert paired(a[order], b[order], ["y", "x", "z", "x"]) == result


def test_an_undefined_value_takes_its_pair_away_and_is_counted():
    nan = math.nan
    result = paired(np.array([0.5, nan, 0.7, nan]), np.array([0.6, 0.9, nan, nan]), ["x", "x", "y", "z"])
    assert (result.n, result.n_images, result.n_dropped, result.undefined) == (1, 1, 3, (2, 2))
    assert (result.mean_a, result.mean_b) == (0.5, 0.6)


def test_nothing_to_compare():
    result = paired(np.array([]), np.array([]))
    assert result.n == 0
    assert np.isnan([result.mean_a, result.difference, result.t_p, result.wilcoxon_p, result.permutation_p]).all()
    assert result.smallest_p == 1
    assert result.verdict() == "nothing to compare: no image is defined in both"


def test_one_subject_has_a_difference_but_no_spread():
    result = signed([0.1])
    assert result.difference == pytest.approx(0.1)
    assert np.isnan([result.sd, result.low, result.high, result.t_p, result.effect]).all()
    assert (result.wilcoxon_p, result.permutation_p, result.smallest_p) == (1, 1, 1)
    assert result.verdict() == "n = 1 cannot reach p < 0.05 by Wilcoxon (at least 1)"


@pytest.mark.parametrize("n", [2, 20, 70])
def test_a_run_does_not_differ_from_itself(n):
    result = signed(np.zeros(n))
    assert (result.t_p, result.wilcoxon_p, result.permutation_p, result.smallest_p) == (1, 1, 1, 1)
    assert (result.difference, result.low, result.high, result.effect, result.rank_effect) == (0, 0, 0, 0, 0)
    assert result.verdict() == f"no difference on any of n = {n}"


def test_the_same_difference_everywhere_has_no_t_but_ranks():
    result = signed(np.full(8, 0.02))
    assert (result.difference, result.sd, result.low, result.high) == pytest.approx((0.02, 0, 0.02, 0.02))
    assert np.isnan([result.t_p, result.effect, result.effect_low]).all()
    assert result.wilcoxon_p == result.permutation_p == 2 / 2**8


@pytest.mark.parametrize("n", [2, 5, 40, 1000])
@pytest.mark.parametrize("t", [-3.0, 0.0, 2.5, 30.0])
def test_the_interval_of_the_effect_inverts_the_noncentral_t(n, t):
    low, high = effect_interval(t, n)
    assert stats.nct.cdf(t, n - 1, low * math.sqrt(n)) == pytest.approx(0.975, abs=1e-4)
    assert stats.nct.cdf(t, n - 1, high * math.sqrt(n)) == pytest.approx(0.025, abs=1e-4)


@pytest.mark.parametrize("n", [2, 5, 40, 1000])
def test_the_interval_of_a_huge_effect_goes_on_where_the_inversion_ends(n):
    below, above = np.array(effect_interval(999.999, n)), np.array(effect_interval(1000.001, n))
    assert below == pytest.approx(above, rel=2e-3)
    assert effect_interval(-1e9, n) == pytest.approx(-np.array(effect_interval(1e9, n)[::-1]))


def test_verdicts():
    base = signed([0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07])
    names = ("unet", "case_unet")
    assert base.verdict(names=names) == "case_unet is better (p = 0.016)"
    assert base.verdict(names=names, higher_is_better=False) == "unet is better (p = 0.016)"
    assert signed([-0.01, -0.02, -0.03, -0.04, -0.05, -0.06, -0.07]).verdict() == "a is better (p = 0.016)"
    assert signed([0.01, -0.02, 0.03, -0.04, 0.05, -0.06, 0.07]).verdict() == "no difference shown (p = 0.81)"
    assert base.verdict(p=0.06, comparisons=3) == "no difference shown (p = 0.06)"
    assert (
        base.verdict(comparisons=10)
        == "n = 7 cannot reach p < 0.05 by Wilcoxon (after Holm over 10 pairs at least 0.16)"
    )


@pytest.mark.parametrize("outlier", [-0.9, -0.15])
def test_ranks_that_say_more_than_the_mean_are_told_so(outlier):
    d = [0.01, 0.011, 0.012, 0.013, 0.014, 0.015, 0.016, 0.017, 0.018, 0.019, 0.02, outlier]
    assert signed(d).verdict().startswith("b is better by ranks (p = 0.034), not by the mean (p = ")


def test_small_p_values_are_not_written_as_0():
    assert p_in_words(0.0000123) == "p < 0.0001"
    assert p_in_words(0.01234) == "p = 0.012"


def test_the_three_must_be_as_long():
    with pytest.raises(ValueError, match="3 and 3 values of 2 images: they must be of the same images"):
        paired(np.ones(3), np.ones(3), ["x", "y"])


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=9))
def test_exchanging_the_two_changes_signs_alone(pairs):
    a, b = np.array([p[0] / 8 for p in pairs]), np.array([p[1] / 8 for p in pairs])
    one, two = paired(a, b), paired(b, a)
    assert (one.wilcoxon_p, one.permutation_p, one.t_p) == pytest.approx(
        (two.wilcoxon_p, two.permutation_p, two.t_p), nan_ok=True
    )
    assert (one.difference, one.low, one.effect_high, one.rank_effect) == pytest.approx(
        (-two.difference, -two.high, -two.effect_low, -two.rank_effect), nan_ok=True, abs=1e-6
    )
    if one.n > one.n_zeros:
        assert one.wilcoxon_p == pytest.approx(signed_rank_p(b - a))
        assert one.smallest_p <= one.wilcoxon_p + 1e-12


def test_holm_is_that_of_the_textbook():
    # 0.01 x 4, 0.02 x 3, 0.03 x 2, 0.04 x 1: never smaller than the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.9, 0.6]) == pytest.approx([1, 1])
    assert holm([]) == []


@pytest.mark.slow
def test_holm_is_that_of_statsmodels():
    p = np.random.default_rng(0).uniform(0, 0.2, 12)
    assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_does_not_count_undefined_tests():
    assert holm([0.01, math.nan, 0.04]) == pytest.approx([0.02, math.nan, 0.04], nan_ok=True)
    assert math.isnan(holm([math.nan])[0])


def test_the_result_is_data():
    assert isinstance(signed([0.1, 0.2]), Paired)
    with pytest.raises(AttributeError):
        signed([0.1, 0.2]).n = 3
