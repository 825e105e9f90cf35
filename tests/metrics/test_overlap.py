"""Counts and scores: by hand, by identities, and the same in NumPy and JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import confusion_matrix, jaccard_score, precision_recall_fscore_support

from fetal_jax.metrics.overlap import Counts, count, counts_of
from fetal_jax.metrics.registry import COUNT_METRICS, overall, scores

CLASSES = ("background", "brain", "csp", "lv")
MAPS = arrays(np.uint8, (2, 3, 5, 4), elements=st.integers(0, 3))  # prediction and reference of 3 images


def counts_of_class(tp, fp, fn, tn):
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
    got = scores(counts_of_class(tp=6, fp=2, fn=4, tn=88))
    expected = {"accuracy": 0.94, "precision": 0.75, "recall": 0.6, "specificity": 88 / 90, "jaccard": 0.5}
    expected |= {"dice": 12 / 18, "f1": 12 / 18, "area_error": 0.2}
    assert tuple(got) == tuple(COUNT_METRICS) == (*expected,)
    for metric, value in expected.items():
        np.testing.assert_allclose(got[metric], [value])


def test_a_class_absent_from_both_is_told_by_its_accuracy_and_specificity_only():
    got = scores(counts_of_class(tp=0, fp=0, fn=0, tn=10))
    assert {metric for metric in COUNT_METRICS if not np.isnan(got[metric][0])} == {"accuracy", "specificity"}
    assert got["accuracy"] == got["specificity"] == 1


@pytest.mark.parametrize(
    ("fp", "fn", "specificity", "area_error"), [(3, 0, 0.7, np.nan), (0, 3, 1, 1)], ids=["invention", "miss"]
)
def test_a_class_absent_from_one_scores_zero(fp, fn, specificity, area_error):
    got = {metric: float(value[0]) for metric, value in scores(counts_of_class(tp=0, fp=fp, fn=fn, tn=7)).items()}
    expected = {"accuracy": 0.7, "precision": 0, "recall": 0, "specificity": specificity, "jaccard": 0, "dice": 0}
    assert got == pytest.approx({**expected, "f1": 0, "area_error": area_error}, nan_ok=True)


def test_a_class_that_fills_the_image_has_no_specificity():
    got = scores(counts_of_class(tp=6, fp=0, fn=4, tn=0))
    assert np.isnan(got["specificity"][0])
    assert (got["accuracy"], got["area_error"]) == (0.6, 0.4)


@settings(max_examples=80, deadline=None)
@given(*(st.integers(0, 10**6) for _ in range(4)))
def test_identities(tp, fp, fn, tn):
    got = {name: float(value[0]) for name, value in scores(counts_of_class(tp, fp, fn, tn + 1)).items()}
    if tp + fp + fn == 0:
        assert np.isnan(got["dice"])
        return
    jaccard, dice, precision, recall = (got[name] for name in ("jaccard", "dice", "precision", "recall"))
    assert np.isnan(got["area_error"]) == (tp + fn == 0)
    assert all(0 <= value <= 1 for name, value in got.items() if name != "area_error")
    assert dice == pytest.approx(2 * jaccard / (1 + jaccard))
    assert jaccard <= dice
    f1 = 2 * precision * recall / (precision + recall) if tp else 0
    assert dice == got["f1"] == pytest.approx(f1)
    if tp:  # |P - G| / G, where P = tp / precision and G = tp / recall
        assert got["area_error"] == pytest.approx(abs(recall / precision - 1))


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


@settings(max_examples=30, deadline=None)
@given(MAPS)
def test_a_confusion_matrix_holds_the_counts(maps):
    prediction, reference = maps
    each = [confusion_matrix(r.ravel(), p.ravel(), labels=range(4)) for p, r in zip(prediction, reference, strict=True)]
    got = counts_of(np.stack(each))
    foreground = jax.tree.map(lambda x: x[..., 1:], got)
    jax.tree.map(np.testing.assert_array_equal, foreground, count(prediction, reference, 4))
    np.testing.assert_array_equal(got.tp[:, 0], [((p == 0) & (r == 0)).sum() for p, r in zip(*maps, strict=True)])


def test_the_overall_table_by_hand():
    # Of 100 pixels: 70 are background, 20 brain, 10 csp.
    got = overall(np.array([[60, 10, 0], [0, 20, 0], [0, 5, 5]]), ("background", "brain", "csp"))
    iou = [60 / 70, 20 / 35, 5 / 10]
    assert got["pixel_accuracy"] == 0.85
    assert got["mean_iou"] == pytest.approx(sum(iou) / 3)
    assert got["mean_iou_foreground"] == pytest.approx((iou[1] + iou[2]) / 2)
    assert got["foreground_iou"] == 30 / 40
    assert got["frequency_weighted_iou"] == pytest.approx(0.7 * iou[0] + 0.2 * iou[1] + 0.1 * iou[2])
    assert got["macro"] == pytest.approx(
        {"precision": (20 / 35 + 1) / 2, "recall": 0.75, "jaccard": 75 / 140}
        | dict.fromkeys(("dice", "f1"), (40 / 55 + 10 / 15) / 2)
    )
    assert got["micro"] == pytest.approx(
        {"precision": 25 / 40, "recall": 25 / 30, "jaccard": 25 / 45} | dict.fromkeys(("dice", "f1"), 50 / 70)
    )
    assert {name: row["share"] for name, row in got["classes"].items()} == {"background": 0.7, "brain": 0.2, "csp": 0.1}
    assert got["classes"]["csp"]["area_error"] == 0.5
    assert got["n_defined"] == 2


def test_a_class_that_nobody_has_is_in_no_mean_and_one_that_is_invented_is():
    nobody = overall(np.array([[8, 0, 0], [0, 2, 0], [0, 0, 0]]), ("background", "brain", "csp"))
    assert (nobody["mean_iou"], nobody["macro"]["dice"], nobody["n_defined"]) == (1, 1, 1)
    assert nobody["classes"]["csp"]["dice"] is None
    invented = overall(np.array([[7, 0, 1], [0, 2, 0], [0, 0, 0]]), ("background", "brain", "csp"))
    assert (invented["macro"]["dice"], invented["n_defined"]) == (0.5, 2)
    empty = overall(np.array([[9, 0], [0, 0]]), ("background", "brain"))
    assert (empty["pixel_accuracy"], empty["mean_iou"], empty["frequency_weighted_iou"]) == (1, 1, 1)
    assert (
        empty["foreground_iou"] is empty["mean_iou_foreground"] is empty["macro"]["f1"] is empty["micro"]["f1"] is None
    )


@settings(max_examples=20, deadline=None)
@given(arrays(np.int64, (4, 4), elements=st.integers(1, 1000)))
def test_the_overall_table_agrees_with_scikit_learn_and_with_itself(confusion):
    got = overall(confusion, CLASSES)
    reference, prediction = (np.indices((4, 4)).reshape(2, 16)[i] for i in (0, 1))
    pixels = {"labels": [1, 2, 3], "sample_weight": confusion.ravel()}
    for average in ("macro", "micro"):
        precision, recall, f1, _ = precision_recall_fscore_support(reference, prediction, average=average, **pixels)
        jaccard = jaccard_score(reference, prediction, average=average, **pixels)
        expected = {"precision": precision, "recall": recall, "f1": f1, "dice": f1, "jaccard": jaccard}
        assert got[average] == pytest.approx(expected)
        assert tuple(got[average]) == ("precision", "recall", "jaccard", "dice", "f1")
    assert got["micro"]["dice"] == pytest.approx(2 * got["micro"]["jaccard"] / (1 + got["micro"]["jaccard"]))
    # Jaccard is convex in Dice: the mean of one is at least the other one of the mean.
    assert got["macro"]["jaccard"] >= got["macro"]["dice"] / (2 - got["macro"]["dice"]) - 1e-12
    rows = got["classes"].values()
    assert got["pixel_accuracy"] == pytest.approx(sum(row["share"] * row["recall"] for row in rows))
    assert got["frequency_weighted_iou"] <= got["pixel_accuracy"]
    assert got["foreground_iou"] >= got["micro"]["jaccard"]
