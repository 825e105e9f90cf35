"""Overlap metrics from pixel counts. Counts are added, scores are derived: the order that makes merging exact."""

from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from fetal_jax.types import Array

METRICS = ("accuracy", "precision", "recall", "jaccard", "dice")


class Counts(flax.struct.PyTreeNode):
    """Pixels of each foreground class: true / false positives / negatives. Any leading axes, classes last."""

    tp: Any
    fp: Any
    fn: Any
    tn: Any


def count(prediction: Integer[Array, "... h w"], labels: Integer[Array, "... h w"], num_classes: int) -> Counts:
    """The counts of classes 1..num_classes-1, shape [... num_classes-1]. NumPy in, NumPy out; JAX in, JAX out."""
    xp = np if isinstance(prediction, np.ndarray) else jnp
    classes = xp.arange(1, num_classes)
    predicted = prediction[..., None] == classes
    actual = labels[..., None] == classes
    over = (-3, -2)
    return Counts(
        tp=(predicted & actual).sum(over),
        fp=(predicted & ~actual).sum(over),
        fn=(~predicted & actual).sum(over),
        tn=(~predicted & ~actual).sum(over),
    )


def scores(counts: Counts) -> dict[str, np.ndarray]:
    """Accuracy, precision, recall, Jaccard and Dice (SS_CASE_UNet, Eq. 14-18) as fractions.

    Where a class is absent from both prediction and reference its scores are undefined (NaN), save accuracy.
    Where it is absent from one of them only they are 0: a miss, or an invention.
    """
    tp, fp, fn, tn = (np.asarray(x, np.float64) for x in (counts.tp, counts.fp, counts.fn, counts.tn))
    absent = tp + fp + fn == 0

    def fraction(above, below):
        return np.where(absent, np.nan, above / np.where(below == 0, 1, below))

    return {
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "precision": fraction(tp, tp + fp),
        "recall": fraction(tp, tp + fn),
        "jaccard": fraction(tp, tp + fp + fn),
        "dice": fraction(2 * tp, 2 * tp + fp + fn),
    }
