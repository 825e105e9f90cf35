"""Geometric transforms, of image, labels, weights and spacing together: flip, zoom, shift-scale-rotate.

Images are interpolated bilinearly, labels and weights by nearest neighbour. What comes from outside the frame is
padding: image 0, label 0, weight 0. Points are (x, y) in pixel indices, so the centre of n pixels is at (n - 1) / 2.
"""

import dataclasses
import math

import cv2
import numpy as np
from jaxtyping import Float, Shaped

from input_pipeline.augment.compose import Sample, check_bounds, check_choice

AXES = {"horizontal": 1, "vertical": 0}  # as OpenCV counts flips


@dataclasses.dataclass(frozen=True)
class Flip:
    """The mirror image, left to right (`horizontal`) or top to bottom (`vertical`)."""

    direction: str = "horizontal"

    def __post_init__(self):
        check_choice(self, "direction", AXES)

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        axis = AXES[self.direction]
        return Sample(
            cv2.flip(sample.image, axis).reshape(sample.image.shape),
            cv2.flip(sample.labels, axis),
            cv2.flip(sample.weights, axis),
            sample.spacing_mm,
        )


@dataclasses.dataclass(frozen=True)
class Zoom:
    """Magnifies `factor` times (at least 1), to the nearest pixel, and crops the centre."""

    factor: float = 1.2

    def __post_init__(self):
        check_bounds(self, factor=(1, 10))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.labels.shape
        larger = round(height * self.factor), round(width * self.factor)
        return Sample(
            _crop_resized(sample.image, larger, cv2.INTER_LINEAR),
            _crop_resized(sample.labels, larger, cv2.INTER_NEAREST_EXACT),
            _crop_resized(sample.weights, larger, cv2.INTER_NEAREST_EXACT),
            (sample.spacing_mm * (height / larger[0], width / larger[1])).astype(np.float32),
        )


def _crop_resized(array: np.ndarray, larger: tuple[int, int], interpolation: int) -> np.ndarray:
    height, width = array.shape[:2]
    zoomed = cv2.resize(array, larger[::-1], interpolation=interpolation)
    top, left = (larger[0] - height) // 2, (larger[1] - width) // 2
    return np.ascontiguousarray(zoomed[top : top + height, left : left + width]).reshape(array.shape)


@dataclasses.dataclass(frozen=True)
class ShiftScaleRotate:
    """Shifts, scales and rotates about the centre, each drawn uniformly.

    `shift` is a fraction of each side, drawn for both axes; `scale` is a fraction too: 0.1 magnifies 0.9 to 1.1 times,
    and divides the spacing by that; `degrees` bounds the angle. Where the spacing is known the rotation is one in
    millimetres, so that anatomy keeps its shape in pixels that are not square.
    """

    shift: float = 0.0625
    scale: float = 0.0625
    degrees: float = 6.25

    def __post_init__(self):
        check_bounds(self, shift=(0, 1), scale=(0, 0.9), degrees=(0, 180))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.labels.shape
        across, down = rng.uniform(-self.shift, self.shift, 2)
        scale = 1 + rng.uniform(-self.scale, self.scale)
        matrix = similarity(
            ((width - 1) / 2, (height - 1) / 2),
            degrees=rng.uniform(-self.degrees, self.degrees),
            scale=scale,
            shift=(across * width, down * height),
            spacing_mm=sample.spacing_mm,
        )
        return dataclasses.replace(warp(sample, matrix), spacing_mm=sample.spacing_mm / np.float32(scale))


def similarity(
    centre: tuple[float, float],
    *,
    degrees: float = 0.0,
    scale: float = 1.0,
    shift: tuple[float, float] = (0.0, 0.0),
    spacing_mm: Float[np.ndarray, "2"],
) -> Float[np.ndarray, "2 3"]:
    """The matrix that maps a point (x, y, 1): a rotation, counter-clockwise on the screen, a scaling and a shift."""
    row, column = spacing_mm if spacing_mm.min() > 0 else (1.0, 1.0)
    cos, sin = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    across, down = sin * float(row / column), sin * float(column / row)
    (x, y), (dx, dy) = centre, shift
    return np.array([[cos, across, x + dx - cos * x - across * y], [-down, cos, y + dy + down * x - cos * y]])


def warp(sample: Sample, matrix: Float[np.ndarray, "2 3"]) -> Sample:
    """The sample warped by the matrix; its spacing is left to the caller."""
    return dataclasses.replace(
        sample,
        image=warp_array(sample.image, matrix, cv2.INTER_LINEAR),
        labels=warp_array(sample.labels, matrix, cv2.INTER_NEAREST),
        weights=warp_array(sample.weights, matrix, cv2.INTER_NEAREST),
    )


def warp_array(
    array: Shaped[np.ndarray, "h w *c"], matrix: Float[np.ndarray, "2 3"], interpolation: int
) -> Shaped[np.ndarray, "h w *c"]:
    """An array of up to four channels warped by the matrix, 0 where it comes from outside."""
    height, width = array.shape[:2]
    return cv2.warpAffine(array, matrix, (width, height), flags=interpolation).reshape(array.shape)
