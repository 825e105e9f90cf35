"""Morphology of masks. It changes the *mask* and not the image, so it adds label noise by design."""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from input_pipeline.augment.compose import Sample, check_bounds, check_choice

MORPHOLOGY = {
    "dilate": cv2.MORPH_DILATE,
    "erode": cv2.MORPH_ERODE,
    "open": cv2.MORPH_OPEN,
    "close": cv2.MORPH_CLOSE,
}


@dataclasses.dataclass(frozen=True)
class Morph:
    """Dilates, erodes, opens or closes the labels; see `morph`."""

    operation: str
    kernel: int = 3  # side of the square structuring element

    def __post_init__(self):
        check_choice(self, "operation", MORPHOLOGY)
        check_bounds(self, kernel=(1, 31))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return dataclasses.replace(sample, labels=morph(sample.labels, self.operation, self.kernel))


def morph(labels: UInt8[np.ndarray, "h w"], operation: str, kernel: int) -> UInt8[np.ndarray, "h w"]:
    """Dilate, erode, open or close a label map with a square of ones; for one class, exactly the binary
    operation.

    Classes are ranked background, largest, ..., smallest, and grey-scale morphology runs on the ranks: that
    is the binary operation on every set "this class or a smaller one". So small structures grow over large
    ones when dilated and give way to them when eroded, no gap opens between neighbours, and no new id
    appears.
    """
    ids = _by_area(labels)
    rank = np.zeros(256, np.uint8)
    rank[ids] = np.arange(len(ids))
    changed = cv2.morphologyEx(rank[labels], MORPHOLOGY[operation], np.ones((kernel, kernel), np.uint8))
    return ids[changed]


def _by_area(labels: np.ndarray) -> np.ndarray:
    """Background first, then the classes that occur, from the largest to the smallest, ties by id."""
    areas = np.bincount(labels.ravel(), minlength=256)[1:]
    present = np.flatnonzero(areas)
    return np.concatenate([[0], 1 + present[np.argsort(-areas[present], kind="stable")]]).astype(np.uint8)


def mask_noise(labels: UInt8[np.ndarray, "h w"]) -> Float[np.ndarray, "8"]:
    """Dice of the 8 morphological variants of a mask to the mask itself, foreground against background.

    In the order of `COMPREHENSIVE`: dilate 3 and 5, erode 3 and 5, open 3 and 5, close 3 and 5. What a
    perfect network loses on such labels is a property of the mask's size and shape; the mean is about 0.96
    for a cerebellum of the paper's size at 256 x 256. An empty mask has Dice 1.
    """
    own = labels > 0
    variants = [morph(own.astype(np.uint8), operation, kernel) > 0 for operation in MORPHOLOGY for kernel in (3, 5)]
    return np.array([2 * (own & v).sum() / max((own.sum() + v.sum()), 1) if own.any() else 1.0 for v in variants])
