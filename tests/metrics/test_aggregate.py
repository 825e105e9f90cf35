"""The three averages, on a case small enough to work out by hand in which all of them differ."""

import json

import jax
import numpy as np
import pytest

from fetal_jax.metrics.aggregate import absent, aggregate, mean_of_defined
from fetal_jax.metrics.overlap import Counts
from fetal_jax.metrics.registry import COUNT_METRICS, scores


def counts(*rows):
    """Counts of one class, an image a row: tp, fp, fn, tn."""
    return Counts(*(np.array(column)[:, None] for column in zip(*rows, strict=True)))


def of_counts(images, subjects, classes):
    pooled = scores(jax.tree.map(lambda x: x.sum(0), images))
    return aggregate(scores(images), pooled, subjects, classes)


def test_the_three_averages_differ_as_they_should():
    # Dice 1, 0.5 (subject a) and 0.2 (subject b).
    three = counts((90, 0, 0, 10), (1, 1, 1, 97), (1, 8, 0, 91))
    got = of_counts(three, ["a", "a", "b"], ["csp"])
    assert got["per_image"]["dice"]["csp"] == pytest.approx((1 + 0.5 + 0.2) / 3)
    assert got["per_subject"]["dice"]["csp"] == pytest.approx((0.75 + 0.2) / 2)
    assert got["pooled"]["dice"]["csp"] == pytest.approx(184 / 194)
    assert (got["n_images"], got["n_subjects"]) == (3, 2)


def test_a_mean_is_of_what_is_defined():
    values = np.array([[0.5, 1.0], [np.nan, 0.25], [np.nan, np.nan]])
    np.testing.assert_array_equal(mean_of_defined(values), [0.5, 0.625])
    np.testing.assert_array_equal(mean_of_defined(values, axis=1), [0.75, 0.25, np.nan])


def test_subjects_need_not_stand_together():
    three = counts((90, 0, 0, 10), (1, 8, 0, 91), (1, 1, 1, 97))
    got = of_counts(three, ["a", "b", "a"], ["csp"])
    assert got["per_subject"]["dice"]["csp"] == pytest.approx((0.75 + 0.2) / 2)


def test_the_mean_is_over_the_foreground_classes():
    two = Counts(*(np.array([row]) for row in ((1, 3), (0, 1), (0, 1), (9, 5))))
    got = of_counts(two, ["a"], ["csp", "lv"])
    assert got["pooled"]["jaccard"] == {"csp": 1.0, "lv": 0.6, "mean": pytest.approx(0.8)}


def test_what_is_undefined_is_left_out_and_where_all_is_undefined_it_is_none():
    empty = (0, 0, 0, 100)
    got = of_counts(counts((1, 1, 1, 97), empty), ["a", "b"], ["csp"])
    assert got["per_image"]["dice"]["csp"] == got["per_subject"]["dice"]["csp"] == 0.5
    got = of_counts(counts(empty, empty), ["a", "b"], ["csp"])
    for kind in ("per_image", "per_subject", "pooled"):
        assert got[kind]["dice"] == {"csp": None, "mean": None}
        assert got[kind]["accuracy"] == {"csp": 1.0, "mean": 1.0}
    assert got["median"]["dice"] == {"csp": None}
    assert (got["defined"]["dice"], got["defined"]["accuracy"]) == ({"csp": 0}, {"csp": 2})


def test_absences_are_counted_by_case():
    images = counts((0, 0, 0, 9), (0, 2, 0, 7), (0, 3, 0, 6), (0, 0, 4, 5), (1, 1, 1, 6))
    assert absent(images, ["csp"]) == {"csp": {"reference": 2, "prediction": 1, "both": 1}}


def test_every_metric_has_every_average():
    got = of_counts(counts((1, 1, 1, 97)), ["a"], ["csp"])
    for kind in ("per_image", "per_subject", "pooled"):
        assert tuple(got[kind]) == tuple(COUNT_METRICS)


def test_a_distance_has_a_median_and_need_not_be_pooled():
    distances = np.array([[1.0, 5.0], [2.0, np.nan], [90.0, 7.0]])  # one image is far off; one has no lv
    got = aggregate({"hd_mm": distances}, {}, ["a", "a", "b"], ["csp", "lv"])
    assert got["per_image"]["hd_mm"] == {"csp": 31, "lv": 6, "mean": 18.5}
    assert got["per_subject"]["hd_mm"] == {"csp": 45.75, "lv": 6, "mean": 25.875}
    assert got["pooled"] == {}
    assert got["median"]["hd_mm"] == {"csp": 2, "lv": 6}
    assert got["defined"]["hd_mm"] == {"csp": 3, "lv": 2}


def test_a_summary_can_be_written_down():
    got = of_counts(counts((0, 0, 0, 100), (1, 1, 1, 97)), ["a", "b"], ["csp"])
    assert json.loads(json.dumps(got, allow_nan=False)) == got


def test_every_image_has_a_subject():
    with pytest.raises(ValueError, match="there are 1 subjects: give one for each image"):
        aggregate({"hd_px": np.zeros((2, 1))}, {}, ["a"], ["csp"])
