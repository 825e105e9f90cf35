"""Gestational age: published values, intervals, and what is out of range."""

import itertools
import math

import numpy as np
import pytest

from fetal_jax.anatomy import growth_charts as growth
from fetal_jax.biometry.dating import CHARTS, gestational_age, z_score

HADLOCK, HC_21ST, TCD_21ST = CHARTS


# Days by TCD, 3rd, 50th and 97th centile: the table by which the R package gigs tests its chart gaftcd.
@pytest.mark.parametrize(
    ("tcd_mm", "days"),
    [(12, (90.18, 95.27, 100.37)), (20, (128.96, 137.59, 146.22)), (40, (209.70, 221.88, 234.06))],
)
def test_age_by_cerebellum_is_that_of_an_independent_table(tcd_mm, days):
    age = gestational_age(tcd_mm=tcd_mm, level=0.94)[TCD_21ST]
    np.testing.assert_allclose([7 * age.low, 7 * age.weeks, 7 * age.high], days, atol=0.02)


@pytest.mark.parametrize(("weeks", "tolerance"), [(14, 0.4), (18, 0.1), (20, 0.05), (26, 0.15), (30, 0.3), (34, 0.5)])
def test_the_median_head_and_cerebellum_have_about_their_own_age(weeks, tolerance):
    """The charts of size by age are independent of those of age by size, whose estimates shrink towards the middle."""
    ages = gestational_age(hc_mm=growth.HC.sample(weeks, 0), tcd_mm=growth.TCD.sample(weeks, 0))
    assert ages[HC_21ST].weeks == pytest.approx(weeks, abs=tolerance)
    assert ages[TCD_21ST].weeks == pytest.approx(weeks, abs=tolerance)


# Mean HC in cm by menstrual age of the same paper. Its regression of HC on age is not the inverse of that of age on HC:
# around 33 weeks they are 1.4 weeks apart.
@pytest.mark.parametrize(
    ("hc_cm", "weeks", "tolerance"),
    [(11.0, 15, 0.35), (17.7, 20, 0.2), (23.5, 25, 0.6), (28.4, 30, 1.2), (32.2, 35, 1.4), (34.6, 40, 0.1)],
)
def test_hadlocks_age_is_near_that_of_his_own_means(hc_cm, weeks, tolerance):
    assert gestational_age(hc_mm=10 * hc_cm)[HADLOCK].weeks == pytest.approx(weeks, abs=tolerance)


# What two makes of ultrasound machine print for Hadlock's HC: weeks and days, and the range of two SD.
@pytest.mark.parametrize(("hc_mm", "days"), [(168.40, 19 * 7 + 3), (291.71, 32 * 7 + 1)])
def test_hadlocks_age_is_that_of_ultrasound_machines(hc_mm, days):
    assert int(7 * gestational_age(hc_mm=hc_mm)[HADLOCK].weeks) == days


def test_hadlocks_range_is_that_of_an_ultrasound_machine():
    age = gestational_age(hc_mm=168.40, level=0.9544997361)[HADLOCK]
    assert 7 * age.low == pytest.approx(18 * 7, abs=1)
    assert 7 * age.high == pytest.approx(21 * 7, abs=1)


def test_hadlocks_equation_by_hand():
    age = gestational_age(hc_mm=200.0, level=0.9544997361)[HADLOCK]  # two SD: 8 %
    assert age.weeks == pytest.approx(8.96 + 0.54 * 20 + 0.0003 * 8000)
    assert (age.low, age.high) == (pytest.approx(0.92 * 22.16), pytest.approx(1.08 * 22.16))
    assert age.reason == ""


def test_the_interval_by_head_holds_the_ages_at_which_this_head_is_not_extreme():
    age = gestational_age(hc_mm=200.0)[HC_21ST]
    assert z_score("hc", 200.0, age.low) == pytest.approx(1.96, abs=0.02)
    assert z_score("hc", 200.0, age.high) == pytest.approx(-1.96, abs=0.02)
    assert age.low < age.weeks < age.high


def test_intervals_hold_their_share_of_simulated_fetuses():
    rng = np.random.default_rng(0)
    weeks = rng.uniform(17, 34, 1000)
    inside = {HC_21ST: 0, TCD_21ST: 0}
    for week, z in zip(weeks, rng.standard_normal(1000), strict=True):
        ages = gestational_age(hc_mm=growth.HC.sample(week, z), tcd_mm=growth.TCD.sample(week, z))
        for name in inside:
            inside[name] += ages[name].low <= week <= ages[name].high
    assert inside[HC_21ST] == pytest.approx(950, abs=20)
    assert inside[TCD_21ST] == pytest.approx(950, abs=35)  # another equation than the one that was drawn from


def test_an_interval_that_the_chart_cuts_says_so():
    age = gestational_age(hc_mm=330.0)[HC_21ST]
    assert age.high == 40
    assert age.reason == "the interval ends where the chart does, at 14 and 40 weeks"


def test_out_of_range_and_not_measured():
    ages = gestational_age(hc_mm=20.0)
    assert math.isnan(ages[HADLOCK].weeks)
    assert math.isnan(ages[HADLOCK].low)
    assert ages[HADLOCK].reason == "hc_mm of 20.0 is out of the chart's 90 to 358"
    assert ages[TCD_21ST].reason == "tcd_mm was not measured"


@pytest.mark.parametrize("name", CHARTS)
def test_ages_grow_with_size_in_the_whole_range(name):
    chart = CHARTS[name]
    ages = [gestational_age(**{chart.measure: size})[name] for size in np.linspace(*chart.range_mm, 60)]
    assert all(a.weeks < b.weeks and a.low <= b.low and a.high <= b.high for a, b in itertools.pairwise(ages))
    assert 13 < ages[0].weeks < 15.2
    assert 36 < ages[-1].weeks < 42.1


def test_an_unknown_chart_is_refused():
    with pytest.raises(ValueError, match="'weight' is not a growth chart: choose from hc, bpd, ofd, tcd"):
        z_score("weight", 1.0, 20.0)
