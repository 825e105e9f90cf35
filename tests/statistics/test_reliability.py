import numpy as np
import pytest

from fetal_jax.statistics.reliability import icc_2_1

# Shrout & Fleiss 1979, Table 2: six targets, four judges; their ICC(2,1) is 0.29.
JUDGES = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)
SEEDS = np.array(
    [
        [0.91, 0.90, 0.92],
        [0.85, 0.87, 0.86],
        [0.95, 0.93, 0.95],
        [0.70, 0.74, 0.78],
        [0.88, 0.86, 0.90],
        [0.93, 0.94, 0.91],
        [0.81, 0.79, 0.86],
    ]
)
OPPOSED = np.array([[1, 5], [2, 3], [3, 4], [4, 1], [2, 2.5]])


# ICC(A,1) of pingouin 0.7.0, intraclass_corr, which rounds intervals to two decimals.
@pytest.mark.parametrize(
    ("ratings", "icc", "interval"),
    [
        (JUDGES, 0.289764, (0.02, 0.76)),
        (SEEDS, 0.896935, (0.68, 0.98)),
        (OPPOSED, -0.912281, (-1.32, 0.33)),
    ],
)
def test_it_is_that_of_an_independent_implementation(ratings, icc, interval):
    value, low, high = icc_2_1(ratings)
    assert value == pytest.approx(icc, abs=5e-7)
    assert (round(low, 2), round(high, 2)) == interval


def test_it_does_not_depend_on_the_order_or_the_unit():
    result = icc_2_1(JUDGES)
    assert icc_2_1(3 - 100 * JUDGES[::-1, [2, 0, 3, 1]]) == pytest.approx(result)


def test_a_rater_who_is_off_by_a_constant_agrees_less():
    shifted = SEEDS + np.array([0, 0, 0.2])
    assert icc_2_1(shifted)[0] < icc_2_1(SEEDS)[0] - 0.4


def test_subjects_with_an_undefined_rating_are_left_out():
    more = np.vstack([JUDGES, [1, np.nan, 2, 3]])
    assert icc_2_1(more) == icc_2_1(JUDGES)


def test_perfect_agreement_is_1_in_spite_of_rounding():
    assert icc_2_1(np.repeat([[0.1], [0.2], [0.7]], 3, axis=1)) == (1, 1, 1)


@pytest.mark.parametrize("ratings", [np.ones((0, 2)), np.ones((1, 3)), np.array([[1.0], [2]]), np.full((4, 3), 0.3)])
def test_it_is_undefined_where_subjects_cannot_be_told_apart(ratings):
    assert np.isnan(icc_2_1(ratings)).all()


def test_raters_who_differ_on_equal_subjects_have_no_agreement_and_no_interval():
    value, low, high = icc_2_1(np.array([[1.0, 2], [1, 2], [1, 2]]))
    assert value == 0
    assert np.isnan([low, high]).all()
