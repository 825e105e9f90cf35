"""Counts and scores: by hand, by identities, and the same in NumPy and JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fetal_jax.metrics.overlap import METRICS, Counts, count, scores

MAPS = arrays(np.uint8, (2, 3, 5, 4), elements=st.integers(0, 3))  # prediction and reference of 3 images


def counts_of(tp, fp, fn, tn):
    return Counts(*(np.array([x]) for x in (tp, fp, fn, tn)))


def test_counts_by_hand():
    prediction = np.array([[0, 1, 1, 2], [0, 2, 2, 2]], np.uint8)
    reference = np.array([[0, 1, 2, 2], [1, 0, 2, 2]], np.uint8)
    got = count(prediction, reference, 3)
    np.testing.assert_array_equal(got.tp, [1, 3])
    np.testing.assert_array_equal(got.fp, [1, 1])
    np.testing.assert_array_equal(got.fn, [1, 1])
    np.testing.assert_array_equal(got.tn, [5, 3])


def test_scores_by_hand():
    got = scores(counts_of(tp=6, fp=2, fn=4, tn=88))
    expected = {"accuracy": 0.94, "precision": 0.75, "recall": 0.6, "jaccard": 0.5, "dice": 12 / 18}
    assert tuple(got) == METRICS
    for metric, value in expected.items():
        np.testing.assert_allclose(got[metric], [value])


def test_a_class_absent_from_both_has_no_score_but_its_accuracy():
    got = scores(counts_of(tp=0, fp=0, fn=0, tn=10))
    assert got["accuracy"] == 1
    assert all(np.isnan(got[metric]) for metric in METRICS[1:])


@pytest.mark.parametrize(("fp", "fn"), [(3, 0), (0, 3)], ids=["invention", "miss"])
def test_a_class_absent_from_one_scores_zero(fp, fn):
    got = scores(counts_of(tp=0, fp=fp, fn=fn, tn=7))
    assert got["accuracy"] == 0.7
    assert [float(got[metric][0]) for metric in METRICS[1:]] == [0, 0, 0, 0]


@settings(max_examples=80, deadline=None)
@given(*(st.integers(0, 10**6) for _ in range(4)))
def test_identities(tp, fp, fn, tn):
    got = {name: float(value[0]) for name, value in scores(counts_of(tp, fp, fn, tn + 1)).items()}
    if tp + fp + fn == 0:
        assert np.isnan(got["dice"])
        return
    jaccard, dice, precision, recall = (got[name] for name in ("jaccard", "dice", "precision", "recall"))
    assert all(0 <= value <= 1 for value in got.values())
    assert dice == pytest.approx(2 * jaccard / (1 + jaccard))
    assert jaccard <= dice
    f1 = 2 * precision * recall / (precision + recall) if tp else 0
    assert dice == pytest.approx(f1)


@settings(max_examples=30, deadline=None)
@given(MAPS)
def test_added_counts_are_the_counts_of_the_union(maps):
    prediction, reference = maps
    each = count(prediction, reference, 4)
    union = count(prediction.reshape(-1, 4), reference.reshape(-1, 4), 4)
    jax.tree.map(lambda of_images, of_all: np.testing.assert_array_equal(of_images.sum(0), of_all), each, union)


@settings(max_examples=30, deadline=None)
@given(MAPS)
def test_every_pixel_is_counted_once_a_class(maps):
    got = count(*maps, 4)
    np.testing.assert_array_equal(got.tp + got.fp + got.fn + got.tn, np.full((3, 3), 20))
    np.testing.assert_array_equal(got.tp + got.fn, [[(image == c).sum() for c in (1, 2, 3)] for image in maps[1]])


def test_jax_and_numpy_agree():
    prediction, reference = np.random.default_rng(0).integers(0, 4, (2, 3, 16, 16)).astype(np.int32)
    ours = count(prediction, reference, 4)
    theirs = jax.jit(lambda p, r: count(p, r, 4))(prediction, reference)
    assert isinstance(ours.tp, np.ndarray)
    assert isinstance(theirs.tp, jax.Array)
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert jnp.issubdtype(theirs.tp.dtype, jnp.integer)
