"""Curves and summary numbers from a pixel histogram: ROC, precision-recall, calibration, confusion. On the host."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float

from fetal_jax.metrics.pixel_histogram import PixelHistogram, bin_edges, on_host

POINTS = 200  # of a curve to draw


@dataclasses.dataclass(frozen=True)
class Curve:
    """Of one class, from the highest threshold down; empty where it is undefined.

    The positive pixels of a point are those whose probability is `threshold` or more; at the first one there are none.
    """

    x: np.ndarray  # ROC: false positive rate. Precision-recall: recall
    y: np.ndarray  # ROC: true positive rate. Precision-recall: precision
    threshold: np.ndarray


@dataclasses.dataclass(frozen=True)
class Reliability:
    """By bins of confidence; NaN where no pixel is."""

    confidence: np.ndarray  # mean
    accuracy: np.ndarray
    share: np.ndarray  # of all pixels


def roc(histogram: PixelHistogram) -> tuple[Curve, ...]:
    """The receiver operating characteristic of each foreground class, in at most POINTS + 1 points."""
    return tuple(_thinned(*_roc(tp, fp)) for tp, fp in _steps(histogram))


def precision_recall(histogram: PixelHistogram) -> tuple[Curve, ...]:
    """The precision-recall curve of each foreground class, in at most POINTS + 1 points."""
    return tuple(_thinned(*_precision_recall(tp, fp)) for tp, fp in _steps(histogram))


def auc_roc(histogram: PixelHistogram) -> Float[np.ndarray, " foreground"]:
    """Area under the ROC curve; pixels of one bin are ties (trapezoid). NaN: the class is nowhere or everywhere."""
    rates = [_roc(tp, fp) for tp, fp in _steps(histogram)]
    return np.array([np.trapezoid(y, x) if x.size else np.nan for x, y in rates])


def auc_pr(histogram: PixelHistogram) -> Float[np.ndarray, " foreground"]:
    """Average precision: precision at each threshold by the recall that it gains. NaN: the class is nowhere."""
    rates = [_precision_recall(tp, fp) for tp, fp in _steps(histogram)]
    return np.array([np.sum(np.diff(recall) * precision[1:]) if recall.size else np.nan for recall, precision in rates])


def reliability(histogram: PixelHistogram) -> Reliability:
    """How often the most likely class is right, by how sure the network is of it."""
    host = on_host(histogram)
    number = np.where(host.bin_pixels == 0, np.nan, host.bin_pixels)
    return Reliability(host.bin_confidence / number, host.bin_correct / number, host.bin_pixels / host.pixels)


def ece(histogram: PixelHistogram) -> float:
    """Expected calibration error (Guo et al. 2017, Eq. 3): mean distance of confidence and accuracy over pixels."""
    bins = reliability(histogram)
    return float(np.nansum(bins.share * np.abs(bins.accuracy - bins.confidence)))


def brier(histogram: PixelHistogram) -> float:
    """Half the squared error of all classes (Brier 1950), so that 1 is the worst; of two classes (p - y)²."""
    return float(on_host(histogram).brier / histogram.pixels)


def confusion(histogram: PixelHistogram) -> Float[np.ndarray, "classes classes"]:
    """The share of each reference class (row) that is predicted as each class; NaN where the reference has none."""
    pixels = on_host(histogram).confusion
    total = pixels.sum(1, keepdims=True)
    return pixels / np.where(total == 0, np.nan, total)


def _steps(histogram: PixelHistogram) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each class: true and false positives as the threshold falls bin by bin from above 1 to 0, [BINS + 1] each."""
    host = on_host(histogram)
    for hits, alarms in zip(host.positives, host.negatives, strict=True):
        yield np.append(0.0, np.cumsum(hits[::-1])), np.append(0.0, np.cumsum(alarms[::-1]))


def _roc(tp: np.ndarray, fp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rates, or nothing where one of them has no pixels."""
    if tp[-1] == 0 or fp[-1] == 0:
        return np.empty(0), np.empty(0)
    return fp / fp[-1], tp / tp[-1]


def _precision_recall(tp: np.ndarray, fp: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision, or nothing where the class has no pixels. Precision starts at 1, as everybody draws it."""
    if tp[-1] == 0:
        return np.empty(0), np.empty(0)
    found = tp + fp
    return tp / tp[-1], np.where(found == 0, 1, tp / np.maximum(found, 1))


def _thinned(x: np.ndarray, y: np.ndarray) -> Curve:
    """The points of a curve that begin a step, of POINTS of equal length; the last one is where it ends."""
    if not x.size:
        return Curve(x, y, np.empty(0))
    length = np.append(0, np.cumsum(np.hypot(np.diff(x), np.diff(y))))
    _, keep = np.unique(np.floor(length / length[-1] * POINTS), return_index=True)
    return Curve(x[keep], y[keep], bin_edges()[::-1][keep])
