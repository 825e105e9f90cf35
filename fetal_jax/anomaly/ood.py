"""Out-of-distribution (OOD) detection: is an image like those of the training? One that is not gets no anomaly score.

Statistics of the image (grey values, sharpness, direction, layout) and of the network's prediction (entropy, expected
Dice) are compared to those of the training images by their Mahalanobis distance. Its covariance is shrunk as in Ledoit
and Wolf: A well-conditioned estimator for large-dimensional covariance matrices, J Multivar Anal 2004;88:365-411.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from fetal_jax.core.types import UserError

SIDE = 64  # pixels; finer detail is speckle, which is another one in every frame
BINS = 8  # of the histogram of grey values
GRID = 4  # cells a side of the layout
FOLDS = 5
ENOUGH_PX = 50_000  # of a prediction, for its means
LEAST_SCALE = 0.01  # of a number that all training images share, such as their aspect ratio


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Whether an image is like those of the training."""

    inside: bool
    distance: float
    threshold: float
    words: str


def image_features(image: UInt8[np.ndarray, "h w"]) -> dict[str, float]:
    """Statistics of the grey values: aspect ratio, histogram, sharpness, direction of the edges, layout."""
    small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    columns, rows = (float(np.abs(np.diff(small, axis=axis)).mean()) for axis in (1, 0))
    bins = np.bincount(image.ravel() // (256 // BINS), minlength=BINS) / image.size
    cells = cv2.resize(small, (GRID, GRID), interpolation=cv2.INTER_AREA)
    return {
        "aspect": math.log(image.shape[1] / image.shape[0]),
        "sharpness": math.log(1e-4 + (columns + rows) / 2),
        "direction": math.log((1e-4 + columns) / (1e-4 + rows)),
        **{f"grey_{i}": math.sqrt(share) for i, share in enumerate(bins)},
        **{f"layout_{i // GRID}{i % GRID}": float(mean) for i, mean in enumerate(cells.ravel())},
    }


def prediction_features(probs: Float[np.ndarray, "h w classes"]) -> dict[str, float]:
    """Statistics of a network's prediction, background first: how sure it is, and how much it finds.

    Expected Dice is that of the prediction and its own probabilities: 2 sum p / (n + sum p) over the foreground p and
    the n pixels where it wins; 0 where it never does. Of a large image every so many pixels each way are looked at.
    """
    step = max(1, math.isqrt(probs.shape[0] * probs.shape[1] // ENOUGH_PX))
    p = probs[::step, ::step].astype(np.float64)
    entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(-1).mean() / math.log(p.shape[-1])
    foreground, found = 1 - p[..., 0], p.argmax(-1) > 0
    dice = 2 * foreground[found].sum() / (found.sum() + foreground.sum()) if found.any() else 0.0
    return {"entropy": float(entropy), "expected_dice": float(dice), "foreground": float(found.mean())}


def image_statistics(image: UInt8[np.ndarray, "h w"], probs: Float[np.ndarray, "h w classes"]) -> dict[str, float]:
    """All statistics of an image and of the network's prediction, by name."""
    return image_features(image) | prediction_features(probs)


@dataclasses.dataclass(frozen=True)
class OODDetector:
    """A fitted detector. Data only: `to_dict` gives what JSON can hold."""

    centre: dict[str, float]  # by statistic
    scale: dict[str, float]
    precision: tuple[tuple[float, ...], ...]  # of the scaled statistics
    threshold: float
    false_alarm: float  # the share of images like the training's that it turns away

    @classmethod
    def fit(
        cls, vectors: Sequence[Mapping[str, float]], subjects: Sequence[str], false_alarm: float = 0.05
    ) -> "OODDetector":
        """Fits the statistics of training images, all of the same names.

        The threshold is the conformal quantile of distances to fits without the image's own subject. Raises UserError
        if there are too few images for that rate, or fewer subjects than FOLDS.
        """
        from sklearn.model_selection import GroupKFold  # imported here: prediction needs no scikit-learn

        if len(set(subjects)) < FOLDS:
            raise UserError(
                f"{len(set(subjects))} subjects are too few for an out-of-distribution detector: give at least {FOLDS}"
            )
        distances = []
        for fitted, left_out in GroupKFold(FOLDS).split(vectors, groups=subjects):
            part = cls._fit([vectors[i] for i in fitted], math.nan, false_alarm)
            distances += [part.distance(vectors[i]) for i in left_out]
        return cls._fit(vectors, _quantile(distances, false_alarm), false_alarm)

    def calibrated(self, vectors: Sequence[Mapping[str, float]]) -> "OODDetector":
        """The same with the threshold at the conformal quantile of images that the network was not trained on."""
        distances = [self.distance(vector) for vector in vectors]
        return dataclasses.replace(self, threshold=_quantile(distances, self.false_alarm))

    @classmethod
    def _fit(cls, vectors: Sequence[Mapping[str, float]], threshold: float, false_alarm: float) -> "OODDetector":
        from sklearn.covariance import LedoitWolf

        names = list(vectors[0])
        table = np.array([[vector[name] for name in names] for vector in vectors])
        centre, scale = table.mean(0), np.maximum(table.std(0), LEAST_SCALE)
        precision = LedoitWolf(assume_centered=True).fit((table - centre) / scale).precision_
        centres, scales = (dict(zip(names, column.tolist(), strict=True)) for column in (centre, scale))
        return cls(centres, scales, tuple(map(tuple, precision.tolist())), threshold, false_alarm)

    def distance(self, vector: Mapping[str, float]) -> float:
        """Mahalanobis distance to the training images."""
        z = np.array(list(self._z(vector).values()))
        return float(np.sqrt(z @ np.array(self.precision) @ z))

    def __call__(self, vector: Mapping[str, float]) -> Verdict:
        """The verdict on the statistics of one image; one that is not finite is far off."""
        distance = self.distance(vector)
        inside = distance <= self.threshold
        z = self._z(vector)
        worst = max(z, key=lambda name: abs(z[name]) if math.isfinite(z[name]) else math.inf)
        what = f"distance {distance:.1f} to the training images, threshold {self.threshold:.1f}"
        words = what if inside else f"the image is unlike the training images ({what}), most of all its {worst}"
        return Verdict(inside, distance, self.threshold, words)

    def _z(self, vector: Mapping[str, float]) -> dict[str, float]:
        return {name: (vector[name] - self.centre[name]) / self.scale[name] for name in self.centre}

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "OODDetector":
        return cls(**{**values, "precision": tuple(map(tuple, values["precision"]))})


def _quantile(distances: Sequence[float], false_alarm: float) -> float:
    """The distance that another such image exceeds with at most this chance."""
    rank = math.ceil((len(distances) + 1) * (1 - false_alarm))
    if rank > len(distances):
        least = math.ceil(1 / false_alarm) - 1
        raise UserError(
            f"{len(distances)} images are too few for an out-of-distribution detector with {false_alarm:.1%} false "
            f"alarms: give at least {least}"
        )
    return sorted(distances)[rank - 1]
