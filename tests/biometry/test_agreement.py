"""Agreement: the published example of Bland and Altman, and ellipses whose distances are known."""

import dataclasses
import math

import numpy as np
import pytest
from scipy.special import ellipe

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.biometry.agreement import bland_altman, compare_heads, mean_and_sd

# Peak flow (l/min) of 17 people by two meters, first readings: Bland and Altman, Lancet 1986;1:307-310, Table.
WRIGHT = [494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427]
MINI = [512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451]


def test_the_published_example():
    found = bland_altman(WRIGHT, MINI)
    assert found.n == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.sd == pytest.approx(38.8, abs=0.05)
    assert (found.lower, found.upper) == (pytest.approx(-79.7, abs=1.7), pytest.approx(75.5, abs=1.7))  # 2 SD there
    assert found.bias_interval == (pytest.approx(-22.0, abs=0.1), pytest.approx(17.8, abs=0.1))
    # The paper rounds 1/n + z^2 / (2 (n - 1)) to 3 / n, and z to 2.
    assert found.lower_interval == (pytest.approx(-114.3, abs=2), pytest.approx(-45.1, abs=2))
    assert found.upper_interval == (pytest.approx(40.9, abs=2), pytest.approx(110.1, abs=2))


def test_limits_and_intervals_by_hand():
    found = bland_altman([1.0, 2.0, 3.0], [0.0, 2.0, 4.0])  # differences 1, 0, -1
    assert (found.bias, found.sd) == (0, 1)
    assert found.upper == pytest.approx(1.959964)
    half = 4.302653 * math.sqrt(1 / 3 + 1.959964**2 / 4)  # t of two degrees of freedom
    assert found.upper_interval == (pytest.approx(1.959964 - half), pytest.approx(1.959964 + half))
    np.testing.assert_array_equal(found.means, [0.5, 2, 3.5])
    np.testing.assert_array_equal(found.differences, [1, 0, -1])


def test_limits_hold_their_share_and_intervals_the_truth():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        found = bland_altman(rng.normal(2, 3, 30), np.zeros(30))
        covered += found.upper_interval[0] <= 2 + 1.959964 * 3 <= found.upper_interval[1]
    assert covered / 300 == pytest.approx(0.95, abs=0.03)


def test_missing_pairs_are_counted_and_too_few_have_no_spread():
    found = bland_altman([1.0, np.nan, 3.0], [np.nan, 2.0, 1.0])
    assert (found.n, found.n_missing, found.bias) == (1, 2, 2)
    assert math.isnan(found.sd)
    assert math.isnan(found.upper)
    assert math.isnan(found.upper_interval[0])
    nothing = bland_altman([], [])
    assert nothing.n == 0
    assert math.isnan(nothing.bias)


def test_pairs_are_as_many():
    with pytest.raises(ValueError, match="2 values and 1 values do not make pairs"):
        bland_altman([1.0, 2.0], [1.0])


HEAD = Ellipse((50.0, 60.0), (55.0, 44.0), 0.4)


def test_a_head_agrees_with_itself():
    found = compare_heads(HEAD, HEAD)
    assert (found.df_mm, found.adf_mm, found.hausdorff_mm) == (0, 0, 0)
    assert found.dice == pytest.approx(1, abs=1e-6)


def test_a_head_that_is_drawn_round_by_another_name_is_the_same():
    turned = Ellipse(HEAD.centre, HEAD.semi_axes[::-1], HEAD.angle - np.pi / 2)
    found = compare_heads(turned, HEAD)
    assert found.dice == pytest.approx(1, abs=1e-5)
    assert found.hausdorff_mm < 0.05


def test_a_smaller_head_inside():
    half = dataclasses.replace(HEAD, semi_axes=(27.5, 22.0))
    found = compare_heads(half, HEAD)
    circumference = 4 * 55 * ellipe(1 - (44 / 55) ** 2)
    assert found.df_mm == pytest.approx(-circumference / 2)
    assert found.adf_mm == pytest.approx(circumference / 2)
    assert found.dice == pytest.approx(2 * 0.25 / 1.25, abs=1e-5)
    assert found.hausdorff_mm == pytest.approx(27.5, abs=1e-3)


def test_a_shifted_circle_has_the_area_of_the_lens():
    a, b = Ellipse((0.0, 0.0), (50.0, 50.0), 0.0), Ellipse((0.0, 30.0), (50.0, 50.0), 0.0)
    lens = 2 * 50**2 * math.acos(0.3) - 15 * math.sqrt(4 * 50**2 - 30**2)
    found = compare_heads(a, b)
    assert found.dice == pytest.approx(lens / (math.pi * 50**2), abs=1e-5)
    assert found.hausdorff_mm == pytest.approx(30, abs=1e-3)
    assert found.df_mm == 0


def test_heads_apart_share_nothing():
    found = compare_heads(HEAD, dataclasses.replace(HEAD, centre=(500.0, 60.0)))
    assert found.dice == 0
    assert found.hausdorff_mm == pytest.approx(450, abs=0.1)


def test_the_summary_counts_what_could_be_compared():
    heads = [compare_heads(dataclasses.replace(HEAD, semi_axes=(a, a)), Ellipse((50.0, 60.0), (40.0, 40.0), 0.0))
             for a in (41.0, 39.0, 43.0)]  # fmt: skip
    summary = mean_and_sd([*heads, compare_heads(None, HEAD)])
    assert summary["df_mm"] == (pytest.approx(2 * np.pi), pytest.approx(2 * np.pi * 2), 3)
    assert summary["adf_mm"][0] == pytest.approx(2 * np.pi * 5 / 3)
    assert summary["hausdorff_mm"][0] == pytest.approx(5 / 3, abs=1e-3)
    assert math.isnan(mean_and_sd([compare_heads(HEAD, None)])["dice"][0])
