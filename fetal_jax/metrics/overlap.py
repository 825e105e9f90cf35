"""Overlap metrics from pixel counts. Counts are added, scores are derived: the order that makes merging exact.

The metrics of a run are the rows of `metrics.registry`.
"""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Integer

from fetal_jax.core.types import Array


class Counts(flax.struct.PyTreeNode):
    """Pixels of each foreground class: true / false positives / negatives. Any leading axes, classes last."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


def count(prediction: Integer[Array, "... h w"], labels: Integer[Array, "... h w"], num_classes: int) -> Counts:
    """The counts of classes 1..num_classes-1, shape [... num_classes-1]. NumPy in, NumPy out; JAX in, JAX out."""
    xp = np if isinstance(prediction, np.ndarray) else jnp

    def pixels(of_class: Callable[[int], Array]) -> Array:  # a class at a time: NumPy is slow on a short last axis
        return xp.stack([of_class(c).sum((-2, -1)) for c in range(1, num_classes)], -1)

    tp = pixels(lambda c: (prediction == c) & (labels == c))
    fp, fn = pixels(lambda c: prediction == c) - tp, pixels(lambda c: labels == c) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=labels.shape[-2] * labels.shape[-1] - tp - fp - fn)


def counts_of(confusion: Integer[np.ndarray, "... classes classes"]) -> Counts:
    """The counts of every class, the background too, from a confusion matrix (rows: reference, columns: prediction).

    Shape [... classes]; `count` without a second look at the pixels.
    """
    tp = np.diagonal(confusion, axis1=-2, axis2=-1)
    fp, fn = confusion.sum(-2) - tp, confusion.sum(-1) - tp
    return Counts(tp=tp, fp=fp, fn=fn, tn=confusion.sum((-2, -1))[..., None] - tp - fp - fn)


def fraction(
    above: Float[np.ndarray, "..."], below: Float[np.ndarray, "..."], undefined: Bool[np.ndarray, "..."]
) -> Float[np.ndarray, "..."]:
    """above / below; NaN where it is undefined, and `above` where only `below` is 0."""
    return np.where(undefined, np.nan, above / np.where(below == 0, 1, below))


def absent(c: Counts) -> Bool[np.ndarray, "..."]:
    """Where a class is absent from both prediction and reference: most scores are undefined.

    Where it is absent from one of them only, precision, recall and overlap are 0: a miss, or a false positive.
    """
    return c.tp + c.fp + c.fn == 0


# Each of NumPy counts in double precision, in their shape, as a fraction. Accuracy, precision, recall, Jaccard and Dice
# are SS_CASE_UNet, Eq. 14-18.


def accuracy(c: Counts) -> np.ndarray:
    """Pixels that are right; also of an absent class."""
    return (c.tp + c.tn) / (c.tp + c.fp + c.fn + c.tn)


def precision(c: Counts) -> np.ndarray:
    """The share of the prediction that is right."""
    return fraction(c.tp, c.tp + c.fp, absent(c))


def recall(c: Counts) -> np.ndarray:
    """The share of the reference that is found."""
    return fraction(c.tp, c.tp + c.fn, absent(c))


def specificity(c: Counts) -> np.ndarray:
    """The share of all other pixels that is left alone; undefined where the reference fills the image."""
    return fraction(c.tn, c.tn + c.fp, c.tn + c.fp == 0)


def jaccard(c: Counts) -> np.ndarray:
    """Intersection over union."""
    return fraction(c.tp, c.tp + c.fp + c.fn, absent(c))


def dice(c: Counts) -> np.ndarray:
    """Dice; F1, the harmonic mean of precision and recall, is the same by another name."""
    return fraction(2 * c.tp, 2 * c.tp + c.fp + c.fn, absent(c))


def area_error(c: Counts) -> np.ndarray:
    """The relative area error |P - G| / G, which may exceed 1; undefined where the reference G is empty."""
    return fraction(np.abs(c.fp - c.fn), c.tp + c.fn, c.tp + c.fn == 0)
