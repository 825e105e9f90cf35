"""Overlap metrics from pixel counts. Counts are added, scores are derived: the order that makes merging exact."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from fetal_jax.core.types import Array

METRICS = ("accuracy", "precision", "recall", "specificity", "jaccard", "dice", "f1", "area_error")
AVERAGED = ("precision", "recall", "jaccard", "dice", "f1")  # macro and micro


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


def scores(counts: Counts) -> dict[str, np.ndarray]:
    """METRICS of the counts, by name, in their shape, as fractions.

    Accuracy, precision, recall, Jaccard and Dice are SS_CASE_UNet, Eq. 14-18. F1, the harmonic mean of precision and
    recall, is Dice by another name. The relative area error |P - G| / G may exceed 1; it is undefined (NaN) where the
    reference G is empty. Specificity is undefined where the reference fills the image.
    Where a class is absent from both prediction and reference its scores are undefined, save accuracy and specificity.
    Where it is absent from one of them only, precision, recall and overlap are 0: a miss, or a false positive.
    """
    tp, fp, fn, tn = (np.asarray(x, np.float64) for x in (counts.tp, counts.fp, counts.fn, counts.tn))
    absent = tp + fp + fn == 0

    def fraction(above, below, undefined=absent):
        return np.where(undefined, np.nan, above / np.where(below == 0, 1, below))

    dice = fraction(2 * tp, 2 * tp + fp + fn)
    return {
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "precision": fraction(tp, tp + fp),
        "recall": fraction(tp, tp + fn),
        "specificity": fraction(tn, tn + fp, undefined=tn + fp == 0),
        "jaccard": fraction(tp, tp + fp + fn),
        "dice": dice,
        "f1": dice,
        "area_error": fraction(np.abs(fp - fn), tp + fn, undefined=tp + fn == 0),
    }


def overall(confusion: Integer[np.ndarray, "classes classes"], classes: Sequence[str]) -> dict[str, Any]:
    """One table of a whole test set: every class, and what sums the classes up, as fractions.

    Args:
      confusion: pixels, rows by reference, columns by prediction, the background first.
      classes: names, the background first.

    Returns:
      "pixel_accuracy"; "mean_iou" over all classes; "mean_iou_foreground" without the background; "foreground_iou" of
      all foreground classes as one; "frequency_weighted_iou", each class by its share of the reference (Long et al.
      2015, section 5; fetal head thesis, Table 4.2); "macro" and "micro": {metric: mean of the foreground classes, or
      of their added counts}, where macro F1 is the mean of the F1s; "classes": {name: {metric: value}} with "share" of
      the reference; "n_defined": foreground classes in the macro averages. A class that neither reference nor
      prediction has is in no mean. None: undefined. There has to be a pixel.
    """
    counts, total = counts_of(confusion), confusion.sum()
    values, share = scores(counts), confusion.sum(1) / total
    together = scores(Counts(*(x[1:].sum(keepdims=True) for x in (counts.tp, counts.fp, counts.fn, counts.tn))))
    jaccard, foreground = values["jaccard"], total - confusion[0, 0]  # in the reference, the prediction or both
    return {
        "pixel_accuracy": float(np.trace(confusion) / total),
        "mean_iou": _mean(jaccard),
        "mean_iou_foreground": _mean(jaccard[1:]),
        "foreground_iou": float(confusion[1:, 1:].sum() / foreground) if foreground else None,
        "frequency_weighted_iou": float(np.nansum(share * jaccard)),
        "macro": {metric: _mean(values[metric][1:]) for metric in AVERAGED},
        "micro": {metric: _mean(together[metric]) for metric in AVERAGED},
        "classes": {
            name: {"share": float(share[c])} | {metric: _number(values[metric][c]) for metric in METRICS}
            for c, name in enumerate(classes)
        },
        "n_defined": int((~np.isnan(jaccard[1:])).sum()),
    }


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
