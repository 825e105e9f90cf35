"""Growth charts: z-scores and centiles against the tables that were published with the equations."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fetal_jax.anatomy import growth_charts as growth

# INTERGROWTH-21st: 3rd, 50th and 97th centile (mm). HC, BPD and OFD: the project's sheets to Lancet 2014;384:869-879.
# TCD: supplement to Ultrasound Obstet Gynecol 2021;57:614-623.
TABLES = {
    "hc": {14: (87.4, 97.9, 108.4), 20: (158.5, 172.5, 186.5), 28: (243.6, 260.4, 277.2), 40: (309.6, 333.9, 358.3)},
    "bpd": {14: (26.3, 29.6, 32.9), 20: (44.1, 48.4, 52.8), 28: (67.9, 73.5, 79.0), 40: (87.5, 94.9, 102.3)},
    "ofd": {14: (30.1, 33.8, 37.4), 20: (55.5, 60.7, 65.9), 28: (84.9, 91.8, 98.7), 40: (104.1, 115.8, 127.4)},
    "tcd": {14: (11.85, 13.00, 14.14), 20: (18.83, 20.47, 22.11), 28: (29.96, 32.91, 35.86), 40: (54.00, 60.91, 67.82)},
}
ROWS = [(name, weeks, sizes) for name, rows in TABLES.items() for weeks, sizes in rows.items()]


@pytest.mark.parametrize(("name", "weeks", "sizes"), ROWS)
def test_centiles_are_those_of_the_published_tables(name, weeks, sizes):
    chart = growth.PUBLISHED[name]
    for z, size in zip((-1.8808, 0, 1.8808), sizes, strict=True):
        assert chart.sample(weeks, z) == pytest.approx(size, abs=0.06)  # printed with one decimal
        assert chart.centile(weeks, size) == pytest.approx((0.03, 0.5, 0.97)[sizes.index(size)], abs=0.01)


@given(st.sampled_from(sorted(growth.PUBLISHED)), st.floats(15, 36), st.floats(-3, 3))
def test_a_sample_has_the_z_score_that_it_was_drawn_with(name, weeks, z):
    chart = growth.PUBLISHED[name]
    assert chart.z(weeks, chart.sample(weeks, z)) == pytest.approx(z, abs=1e-6)


def test_a_logarithmic_chart_is_skewed():
    chart, weeks = growth.CISTERNA_MAGNA, 20
    # exp(2.098095 - 239.0659 / 400 - 1.547e-7 * 8000) = 4.478; one SD is a factor exp(0.2297936 + 8.1872 / 400) = 1.284
    assert chart.z(weeks, 4.4782 * 1.2844) == pytest.approx(1, abs=0.001)
    assert chart.z(weeks, 4.4782 / 1.2844) == pytest.approx(-1, abs=0.001)


@pytest.mark.parametrize(("weeks", "size"), [(13.9, 90.0), (40.1, 330.0), (math.nan, 170.0), (20, math.nan), (20, 0.0)])
def test_what_the_chart_does_not_know_has_no_z_score(weeks, size):
    assert math.isnan(growth.HC.z(weeks, size))
    assert math.isnan(growth.HC.centile(weeks, size))
