"""Pixel histograms: by hand, against NumPy's histograms, the same on a device, and the same in any order."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.metrics import pixel_histogram as histograms
from fetal_jax.metrics.pixel_histogram import BINS, CALIBRATION_BINS, LEVELS, bin_edges, merge, on_host, pixel_histogram

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def network_output(seed, *space, num_classes=3):
    """Probabilities that are whole levels, so that nothing is rounded, and labels."""
    rng = np.random.default_rng(seed)
    level = rng.multinomial(LEVELS, rng.dirichlet(np.full(num_classes, 0.3), space)).astype(np.float32)
    return level / np.float32(LEVELS), rng.integers(0, num_classes, space).astype(np.uint8)


def same(first, second):
    """Counts are equal; sums of fractions are, but for the order of adding."""

    def check(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-12 if np.asarray(a).dtype.kind == "f" else 0)

    jax.tree.map(check, first, second)


def test_four_pixels_by_hand():
    lesion = np.array([0.2, 0.9, 0.9994, 1.0], np.float32)
    got = pixel_histogram(np.stack([1 - lesion, lesion], -1), np.array([0, 1, 0, 1]))
    # 1000 times the fourth root of 2 × 0.2, of 2 × 0.1 and of 2 × 0.0006, from below or from above.
    assert np.flatnonzero(got.negatives[0]).tolist() == [795, 1999 - 186]
    assert np.flatnonzero(got.positives[0]).tolist() == [1999 - 668, 1999]
    assert got.confusion.tolist() == [[1, 1], [0, 2]]
    bins = {12: (1, 0.8, 1), 13: (1, 0.9, 1), 14: (2, 1.9994, 1)}  # confidence of the likelier class, by fifteenths
    for b in range(CALIBRATION_BINS):
        of_bin = (got.bin_pixels[b], got.bin_confidence[b], got.bin_correct[b])
        assert of_bin == pytest.approx(bins.get(b, (0, 0, 0)))
    assert got.brier == pytest.approx(0.2**2 + 0.1**2 + 0.9994**2)
    assert got.pixels == 4


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_histograms_are_those_of_each_class(num_classes):
    _, labels = network_output(0, 30, 20, num_classes=num_classes)
    probs = np.random.default_rng(1).dirichlet(np.full(num_classes, 0.2), (30, 20)).astype(np.float32)
    got = pixel_histogram(probs, labels)
    for c in range(1, num_classes):
        for histogram, of_class in ((got.positives, labels == c), (got.negatives, labels != c)):
            expected = np.histogram(probs[..., c][of_class], bin_edges())[0]
            np.testing.assert_array_equal(histogram[c - 1], expected)


@pytest.mark.parametrize("num_classes", [2, 3, 5])
def test_calibration_is_of_the_most_likely_class_and_the_error_of_all(num_classes):
    probs, labels = network_output(num_classes, 30, 20, num_classes=num_classes)
    got = pixel_histogram(probs, labels)
    confidence, correct = probs.max(-1), probs.argmax(-1) == labels
    edges = (np.arange(CALIBRATION_BINS + 1) - 1e-3) / CALIBRATION_BINS  # a level on an edge is of the upper bin
    edges[-1] = 1
    np.testing.assert_array_equal(got.bin_pixels, np.histogram(confidence, edges)[0])
    np.testing.assert_array_equal(got.bin_correct, np.histogram(confidence[correct], edges)[0])
    np.testing.assert_allclose(got.bin_confidence, np.histogram(confidence, edges, weights=confidence)[0], rtol=1e-5)
    assert got.brier == pytest.approx(((probs - np.eye(num_classes)[labels]) ** 2).sum() / 2, rel=1e-5)


def test_bins_are_narrow_where_most_pixels_are():
    edges = bin_edges()
    assert edges[[0, BINS // 2, -1]].tolist() == [0, 0.5, 1]
    assert (edges < 0.001).sum() == (edges > 0.999).sum() == 212  # 1000 times the fourth root of 0.002
    assert 0 < np.diff(edges).min() < 1e-10
    assert np.diff(edges).max() < 0.002


def test_two_classes_are_as_three_of_which_one_is_never_seen():
    probs, labels = network_output(0, 40, 30, num_classes=2)
    two = pixel_histogram(probs, labels)
    three = pixel_histogram(np.concatenate([probs, np.zeros((40, 30, 1), np.float32)], -1), labels)
    for name, value in vars(two).items():
        if name in ("positives", "negatives"):
            np.testing.assert_array_equal(value[0], getattr(three, name)[0])
        elif name == "confusion":
            np.testing.assert_array_equal(np.pad(value, (0, 1)), three.confusion)
        else:
            np.testing.assert_allclose(value, getattr(three, name))


def test_of_equals_the_first_is_the_most_likely_as_with_argmax():
    probs = np.array([[0.5, 0.5, 0], [0.2, 0.4, 0.4], [1 / 3, 1 / 3, 1 / 3]], np.float32)
    assert pixel_histogram(probs, np.zeros(3, int)).confusion[0].tolist() == [2, 1, 0]
    assert pixel_histogram(probs[:1, :2], np.zeros(1, int)).confusion[0].tolist() == [1, 0]


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_cleaned_prediction_changes_the_confusion_alone(num_classes):
    probs, labels = network_output(1, 9, 8, num_classes=num_classes)
    plain, cleaned = pixel_histogram(probs, labels), pixel_histogram(probs, labels, np.zeros_like(labels))
    np.testing.assert_array_equal(cleaned.confusion[:, 0], np.bincount(labels.ravel()))
    assert cleaned.confusion[:, 1:].sum() == 0
    same(plain.replace(confusion=0), cleaned.replace(confusion=0))


@pytest.mark.parametrize("num_classes", [2, 3])
def test_pieces_leave_no_pixel_out(num_classes, monkeypatch):
    image = network_output(2, 11, 9, num_classes=num_classes)
    whole = pixel_histogram(*image, image[1])
    monkeypatch.setattr(histograms, "PIECE", 7)
    same(whole, pixel_histogram(*image, image[1]))
    assert whole.pixels == whole.bin_pixels.sum() == whole.confusion.trace() == 99


@pytest.mark.parametrize("num_classes", [2, 3])
def test_a_device_finds_what_numpy_finds(num_classes):
    images = [network_output(seed, 2, 6, 5, num_classes=num_classes) for seed in (0, 1)]
    on_device = QUICK(lambda probs, labels: pixel_histogram(probs, labels))
    ours, theirs = pixel_histogram(*images[0]), on_device(*images[0])
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(theirs))
    for name, value in vars(ours).items():
        tolerance = 1e-6 if value.dtype.kind == "f" else 0
        np.testing.assert_allclose(getattr(theirs, name), value, rtol=tolerance)
    added = theirs + on_device(*images[1])
    assert isinstance(added.pixels, jax.Array)
    assert added.pixels == 120


def test_a_batch_may_be_counted_image_by_image_on_a_device():
    probs, labels = network_output(3, 3, 6, 5)
    each = on_host(QUICK(jax.vmap(lambda p, y: pixel_histogram(p, y)))(probs, labels))
    assert each.confusion.shape == (3, 3, 3)
    total, expected = jax.tree.map(lambda x: x.sum(0), each), pixel_histogram(probs, labels)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), total, expected)


def test_counts_beyond_32_bits_are_added_on_the_host():
    image = pixel_histogram(*network_output(4, 5, 4))
    full = jax.tree.map(lambda x: jnp.full(x.shape, 2**31 - 1, "float32" if x.dtype.kind == "f" else "int32"), image)
    got = merge(full, image) + full
    assert got.pixels == 2**32 - 2 + 20
    assert {leaf.dtype for leaf in jax.tree.leaves(got)} == {np.dtype(np.int64), np.dtype(np.float64)}


def test_a_histogram_does_not_grow():
    def size(of):
        return [(leaf.shape, leaf.dtype, leaf.nbytes) for leaf in jax.tree.leaves(of)]

    image = network_output(5, 4, 3)
    one, total = pixel_histogram(*image), pixel_histogram(*image)
    for _ in range(499):
        total += one
    assert total.pixels == 500 * 12
    assert size(total) == size(one)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(total)) < 150_000


@settings(max_examples=25, deadline=None)
@given(st.tuples(*(st.integers(0, 10**6) for _ in range(3))), st.lists(st.integers(1, 6), min_size=3, max_size=3))
def test_adding_is_in_any_order_and_as_if_all_were_one_image(seeds, rows):
    images = [network_output(seed, n, 4) for seed, n in zip(seeds, rows, strict=True)]
    a, b, c = (pixel_histogram(*image) for image in images)
    same((a + b) + c, a + (b + c))
    same(a + b, b + a)
    same(a + b + c, pixel_histogram(*(np.concatenate(parts) for parts in zip(*images, strict=True))))


@pytest.mark.parametrize(
    ("probs", "label", "prediction", "message"),
    [
        ([-0.5, 1.5], 0, 0, "the probabilities reach from -0.5 to 1.5: expected 0 to 1"),
        ([np.nan, 1], 0, 0, "the probabilities reach from nan to nan"),
        ([0.5, 0.5], 2, 0, "the labels of the reference reach from 2 to 2: expected 0 to 1"),
        ([0.5, 0.5], 0, -1, "the labels of the prediction reach from -1 to -1: expected 0 to 1"),
    ],
)
def test_what_is_no_probability_or_no_class_is_refused(probs, label, prediction, message):
    with pytest.raises(ValueError, match=message):
        pixel_histogram(np.array([probs], np.float32), np.array([label]), np.array([prediction]))
