"""The registry of metrics: one row for each. What has a row is in every table, file and report of an evaluation.

A metric is one file with a function, and one row here: see "Add a metric" in docs/evaluation.md.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Integer

from fetal_jax.metrics import overlap
from fetal_jax.metrics.overlap import Counts, counts_of

CountFunction = Callable[[Counts], Float[np.ndarray, "..."]]


@dataclasses.dataclass(frozen=True)
class CountMetric:
    """A metric of pixel counts: of an image, and of all images together."""

    name: str  # the column of per_image.csv, and the key in summary.json
    function: CountFunction  # of NumPy counts in double precision, in their shape; NaN is undefined
    title: str = ""  # in the report; "" leaves it out there
    higher_is_better: bool = True
    averaged: bool = False  # whether its macro and micro averages over classes are told


@dataclasses.dataclass(frozen=True)
class SurfaceMetric:
    """A metric of the distances between outlines, in pixels and in millimetres: see metrics.surface."""

    name: str  # without its unit
    title: str
    higher_is_better: bool = False


def rows(*metrics: Any) -> dict[str, Any]:
    """Metrics by name."""
    return {metric.name: metric for metric in metrics}


COUNT_METRICS: dict[str, CountMetric] = rows(
    CountMetric("accuracy", overlap.accuracy, "Accuracy"),
    CountMetric("precision", overlap.precision, "Precision", averaged=True),
    CountMetric("recall", overlap.recall, "Recall", averaged=True),
    CountMetric("specificity", overlap.specificity, "Specificity"),
    CountMetric("jaccard", overlap.jaccard, "Jaccard (IoU)", averaged=True),
    CountMetric("dice", overlap.dice, "Dice", averaged=True),
    CountMetric("f1", overlap.dice, averaged=True),  # Dice by another name
    CountMetric("area_error", overlap.area_error, "Area error", higher_is_better=False),
)
SURFACE_METRICS: dict[str, SurfaceMetric] = rows(
    SurfaceMetric("hd95", "HD95"),
    SurfaceMetric("hd", "Hausdorff"),
    SurfaceMetric("assd", "Mean (ASSD)"),
    SurfaceMetric("asd", "Mean (ASD)"),
    SurfaceMetric("surface_dice", "Surface Dice", higher_is_better=True),
)


def scores(counts: Counts) -> dict[str, np.ndarray]:
    """Every count metric of the counts, by name, in their shape; NaN is undefined."""
    tp, fp, fn, tn = (np.asarray(x, np.float64) for x in (counts.tp, counts.fp, counts.fn, counts.tn))
    exact = Counts(tp=tp, fp=fp, fn=fn, tn=tn)
    return {name: metric.function(exact) for name, metric in COUNT_METRICS.items()}


def higher_is_better(name: str) -> bool:
    """Whether more of a metric is better: of scores, not of distances and errors; `name` as in per_image.csv."""
    if name in COUNT_METRICS:
        return COUNT_METRICS[name].higher_is_better
    surface = name.removesuffix("_mm").removesuffix("_px")
    return SURFACE_METRICS[surface].higher_is_better if surface in SURFACE_METRICS else True


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
    averaged = [name for name, metric in COUNT_METRICS.items() if metric.averaged]
    values, share = scores(counts), confusion.sum(1) / total
    together = scores(Counts(*(x[1:].sum(keepdims=True) for x in (counts.tp, counts.fp, counts.fn, counts.tn))))
    jaccard, foreground = values["jaccard"], total - confusion[0, 0]  # in the reference, the prediction or both
    return {
        "pixel_accuracy": float(np.trace(confusion) / total),
        "mean_iou": _mean(jaccard),
        "mean_iou_foreground": _mean(jaccard[1:]),
        "foreground_iou": float(confusion[1:, 1:].sum() / foreground) if foreground else None,
        "frequency_weighted_iou": float(np.nansum(share * jaccard)),
        "macro": {metric: _mean(values[metric][1:]) for metric in averaged},
        "micro": {metric: _mean(together[metric]) for metric in averaged},
        "classes": {
            name: {"share": float(share[c])} | {metric: _number(values[metric][c]) for metric in COUNT_METRICS}
            for c, name in enumerate(classes)
        },
        "n_defined": int((~np.isnan(jaccard[1:])).sum()),
    }


def _mean(values: np.ndarray) -> float | None:
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if defined.size else None


def _number(value: np.floating) -> float | None:
    return None if np.isnan(value) else float(value)
