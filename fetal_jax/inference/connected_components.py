"""Connected components of a mask, in two dimensions or three, and what surrounds each of them.

Masks [h w] go through OpenCV, several times as fast as SciPy, which takes volumes: hence the branches on `ndim`."""

import dataclasses
import functools

import cv2
import numpy as np
from jaxtyping import Bool, Float, Int, Integer
from scipy import ndimage

Box = tuple[slice, ...]
MARGIN = 1  # pixels around a component


@dataclasses.dataclass(frozen=True)
class ConnectedComponents:
    """The components of a mask, from number 0."""

    numbers: Int[np.ndarray, "*space"]  # 1 more than the component's number; 0 is outside the mask
    n: int
    touch: Bool[np.ndarray, "*three"]  # which pixels around a pixel belong to it

    @functools.cached_property
    def sizes(self) -> Int[np.ndarray, " n"]:
        """In pixels or voxels."""
        return np.bincount(self.numbers.ravel(), minlength=self.n + 1)[1:]

    @functools.cached_property
    def boxes(self) -> list[Box]:
        """The smallest box around each."""
        return ndimage.find_objects(self.numbers)

    def surroundings(self, component: int, labels: Integer[np.ndarray, "*space"]) -> int:
        """The label of most of the pixels that touch a component, the lower one of two; 0 if nothing does."""
        box = tuple(slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in self.boxes[component])
        mask = self.numbers[box] == component + 1
        around = labels[box][_dilated(mask, self.touch) & ~mask]
        return int(np.bincount(around).argmax()) if around.size else 0

    def paint(self, component: int, labels: Integer[np.ndarray, "*space"], label: int) -> None:
        """Gives the component another label, in place."""
        box = self.boxes[component]
        labels[box][self.numbers[box] == component + 1] = label


def connected_components(mask: Bool[np.ndarray, "*space"], *, diagonal: bool = True) -> ConnectedComponents:
    """The components of a mask. With `diagonal`, pixels that share a corner touch; else only those of one side."""
    touch = ndimage.generate_binary_structure(mask.ndim, mask.ndim if diagonal else 1)
    if mask.ndim == 2:  # OpenCV is four times as fast, unless it is asked for statistics too
        n, numbers = cv2.connectedComponents(as_bytes(mask), connectivity=8 if diagonal else 4)
        return ConnectedComponents(numbers, n - 1, touch)
    numbers, n = ndimage.label(mask, touch)
    return ConnectedComponents(numbers, n, touch)


def bounding_box(mask: Bool[np.ndarray, "*space"], margin: int = 0) -> Box | None:
    """The smallest box around a mask, `margin` wider on each side where there is room; None for an empty one."""
    sides: tuple[tuple[int, int], ...] | None
    if mask.ndim == 2:
        x, y, width, height = cv2.boundingRect(as_bytes(mask))
        sides = ((y, y + height), (x, x + width)) if width else None
    else:
        found = ndimage.find_objects(as_bytes(mask))
        sides = tuple((side.start, side.stop) for side in found[0]) if found else None
    if sides is None:
        return None
    return tuple(slice(max(0, first - margin), last + margin) for first, last in sides)


def closed(mask: Bool[np.ndarray, "*space"], size: int) -> Bool[np.ndarray, "*space"]:
    """The morphological closing with a disc or ball `size` pixels wide, an odd number, on an endless plane."""
    around = np.pad(mask, size // 2)
    if mask.ndim == 2:
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
        result = cv2.morphologyEx(as_bytes(around), cv2.MORPH_CLOSE, disc) > 0
    else:
        steps = np.indices((size,) * mask.ndim) - size // 2
        result = ndimage.binary_closing(around, np.square(steps).sum(0) <= np.square(size / 2))
    return result[tuple(slice(size // 2, size // 2 + n) for n in mask.shape)]


def distance(mask: Bool[np.ndarray, "*space"]) -> Float[np.ndarray, "*space"]:
    """From each pixel of a mask to the nearest one outside, in pixels; 0 outside."""
    if mask.ndim == 2:
        return cv2.distanceTransform(as_bytes(mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return ndimage.distance_transform_edt(mask)


def as_bytes(mask: Bool[np.ndarray, "*space"]) -> np.ndarray:
    """The same memory as OpenCV takes it, 0 and 1."""
    return np.ascontiguousarray(mask).view(np.uint8)


def _dilated(mask: np.ndarray, touch: np.ndarray) -> np.ndarray:
    if mask.ndim == 2:
        return cv2.dilate(as_bytes(mask), touch.view(np.uint8)) > 0
    return ndimage.binary_dilation(mask, touch)
