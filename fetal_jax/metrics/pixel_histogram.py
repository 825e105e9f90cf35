"""Pixel histograms of probabilities: what ROC, precision-recall and calibration curves and confusion are made from.

Histograms are added up, and have the same size after one image as after a thousand. For calibration a probability is
rounded to 1 / LEVELS, which moves a mean confidence or a Brier score by less than 1 / LEVELS. ROC and precision-recall
see its bin, one of BINS, which are the narrower the nearer they are to 0 and 1: most pixels of a trained network lie
within 0.001 of one of them, where a thousand equal bins would make ties of them all.
"""

from types import ModuleType
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Integer

from fetal_jax.core.types import Array

BINS = 2000  # of a class's probability: see `bin_edges`
CALIBRATION_BINS = 15  # of the confidence of the most likely class (Guo et al. 2017)
LEVELS = 15_000  # a multiple of it
PIECE = 1 << 16  # pixels that NumPy works on at a time, so that what it makes on the way stays in the cache


class PixelHistogram(flax.struct.PyTreeNode):
    """Sums over pixels; `+` adds those of other pixels. On the host int64 and float64.

    A device counts in int32: bring it to the host (`on_host`, or `+` with one that is there) before 2^31 pixels.
    """

    positives: Any  # [foreground BINS] pixels of the class, by its probability
    negatives: Any  # [foreground BINS] all other pixels, by the probability of the class
    confusion: Any  # [classes classes] rows by reference, columns by prediction
    bin_pixels: Any  # [CALIBRATION_BINS] pixels by the confidence of the most likely class
    bin_confidence: Any  # [CALIBRATION_BINS] their confidences added up
    bin_correct: Any  # [CALIBRATION_BINS] those of them whose most likely class is right
    brier: Any  # sum over pixels of half the squared error of all classes
    pixels: Any

    def __add__(self, other: "PixelHistogram") -> "PixelHistogram":
        return merge(self, other)


def pixel_histogram(
    probs: Float[Array, "*space classes"],
    labels: Integer[Array, "*space"],
    prediction: Integer[Array, "*space"] | None = None,
) -> PixelHistogram:
    """The histogram of an image, a volume or a batch. NumPy in, NumPy out; JAX in, JAX out, in one pass on its device.

    Args:
      probs: of every class, the background first; they add up to 1 in every pixel.
      labels: the reference.
      prediction: what the confusion matrix is of, where that is not the most likely class (after post-processing).

    Raises ValueError (NumPy only) for a probability outside [0, 1] and for a label that has no probability.
    """
    xp, num_classes = np if isinstance(probs, np.ndarray) else jnp, probs.shape[-1]
    if xp is np:
        _check(probs, labels, prediction)
    predicted = None if prediction is None else prediction.reshape(-1)
    joint, bins, confusion = _sums(xp, probs.reshape(-1, num_classes), labels.reshape(-1), predicted)
    positives, negatives = joint[:, 1].sum(1), joint[:, 0].sum(1)
    chosen, right = joint[:, :, 1].sum((0, 1)), joint[:, 1, 1].sum(0)
    value = xp.arange(LEVELS + 1) / LEVELS
    return PixelHistogram(
        positives=bins[:, 1],
        negatives=bins[:, 0],
        confusion=confusion,
        bin_pixels=_fifteenths(xp, chosen),
        bin_confidence=_fifteenths(xp, chosen * value),
        bin_correct=_fifteenths(xp, right),
        brier=(positives * (1 - value) ** 2 + negatives * value**2).sum() / 2,
        pixels=chosen.sum(),
    )


def bin_edges() -> Float[np.ndarray, " edges"]:
    """Edges of the bins, from 0 to 1: equal steps of the fourth root of the distance to 0 or 1, whichever is less."""
    half = (np.arange(BINS // 2 + 1) / (BINS // 2)) ** 4 / 2
    return np.concatenate([half, 1 - half[-2::-1]])


def merge(first: PixelHistogram, second: PixelHistogram) -> PixelHistogram:
    """The histogram of the pixels of both; on the host as soon as one of them is."""
    if any(isinstance(each.positives, np.ndarray) for each in (first, second)):
        first, second = on_host(first), on_host(second)
    return jax.tree.map(lambda a, b: a + b, first, second)


def on_host(histogram: PixelHistogram) -> PixelHistogram:
    """In NumPy, where no count overflows."""
    wide = {"i": np.int64, "u": np.int64, "f": np.float64}
    return jax.tree.map(lambda x: np.asarray(x).astype(wide[np.asarray(x).dtype.kind]), histogram)


def _check(probs: Array, labels: Array, prediction: Array | None) -> None:
    if not (probs.min() >= 0 and probs.max() <= 1 + 1e-5):  # also where one is not a number
        raise ValueError(f"the probabilities reach from {probs.min()} to {probs.max()}: expected 0 to 1")
    for name, classes in (("reference", labels), ("prediction", prediction)):
        if classes is not None and not (classes.min() >= 0 and classes.max() < probs.shape[-1]):
            raise ValueError(
                f"the labels of the {name} reach from {classes.min()} to {classes.max()}: expected 0 to "
                f"{probs.shape[-1] - 1}"
            )


def _sums(xp: ModuleType, probs: Array, labels: Array, prediction: Array | None) -> tuple[Array, Array, Array]:
    """`_levels` of every class [classes 2 2 levels], `_bins` of the foreground [foreground 2 bins], the confusion."""
    num_classes = probs.shape[-1]
    counted = (1,) if num_classes == 2 else range(num_classes)
    joint: list[Any] = [0] * num_classes
    bins: list[Any] = [0] * num_classes
    confusion: Any = 0
    piece = PIECE if xp is np else len(labels)
    for start in range(0, len(labels), piece):
        part = slice(start, start + piece)
        likely = _most_likely(xp, probs[part])
        for c in counted:
            one, true = probs[part, c].copy(), labels[part] == c  # a copy, as NumPy is slow on what lies far apart
            joint[c] += _levels(xp, one, true, likely == c)
            bins[c] += _bins(xp, one, true) if c else 0
        confusion += _pairs(xp, labels[part], likely if prediction is None else prediction[part], num_classes)
    if num_classes == 2:  # a pixel that is not of the one class is of the other
        joint[0] = joint[1][::-1, ::-1, ::-1]
    return xp.stack(joint), xp.stack(bins[1:]), confusion


def _most_likely(xp: ModuleType, probs: Array) -> Array:
    """As argmax over the classes, but several times as fast in NumPy, where the last axis is short."""
    best, likely = probs[:, 0], xp.zeros(len(probs), np.uint8)
    for c in range(1, probs.shape[-1]):
        likely = xp.where(probs[:, c] > best, np.uint8(c), likely)
        best = xp.maximum(best, probs[:, c])
    return likely


def _levels(xp: ModuleType, probs: Array, true: Array, likely: Array) -> Integer[Array, "2 2 levels"]:
    """Pixels by whether a class is the true one, whether it is the most likely one, and its level of probability."""
    level = (probs * np.float32(LEVELS) + np.float32(0.5)).astype(np.int32)
    cell = 2 * true.astype(np.int32) + likely
    return _histogram(xp, cell * (LEVELS + 1) + level, 4 * (LEVELS + 1)).reshape(2, 2, LEVELS + 1)


def _bins(xp: ModuleType, probs: Array, true: Array) -> Integer[Array, "2 bins"]:
    """Pixels by whether a class is the true one, and the bin of its probability."""
    root = xp.sqrt(xp.sqrt(xp.minimum(probs, xp.abs(1 - probs)) * 2))
    side = xp.minimum((root * (BINS // 2)).astype(np.int32), BINS // 2 - 1)
    place = xp.where(probs > 0.5, BINS - 1 - side, side)
    return _histogram(xp, place + BINS * true.astype(np.int32), 2 * BINS).reshape(2, BINS)


def _pairs(xp: ModuleType, labels: Array, prediction: Array, num_classes: int) -> Integer[Array, "classes classes"]:
    of_reference, of_prediction = ([found == c for c in range(num_classes)] for found in (labels, prediction))
    return xp.stack([xp.stack([xp.count_nonzero(r & p) for p in of_prediction]) for r in of_reference])


def _histogram(xp: ModuleType, index: Array, size: int) -> Array:
    return xp.bincount(index, minlength=size) if xp is np else xp.bincount(index, length=size)


def _fifteenths(xp: ModuleType, levels: Array) -> Array:
    """Sums by level in equal bins over [0, 1]; the last one has its upper edge, too."""
    inner = levels[:-1].reshape(CALIBRATION_BINS, -1).sum(-1)
    return xp.append(inner[:-1], inner[-1] + levels[-1])
