"""Letterbox: an image resized and zero-padded to the square input of a network, and predictions resized back.

Pixel centres sit at half-integers of the frame: index i of n pixels is at (i + 0.5) / n. OpenCV's area and linear
resizing keep that convention, so nothing shifts in either direction.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8, UInt16

from fetal_jax.core.types import UserError

INTENSITIES = {"unit": (0.0, 1.0), "symmetric": (-1.0, 1.0)}  # black and white in a network's input


def check_intensity(name: str) -> None:
    """Raises UserError for an unknown range."""
    if name not in INTENSITIES:
        raise UserError(f"intensity {name!r} is unknown: choose one of {', '.join(INTENSITIES)}")


def to_range(image: Float[np.ndarray, "*shape"], intensity: str) -> Float[np.ndarray, "*shape"]:
    """An image in [0, 1] scaled to a network's input range: unchanged, or [-1, 1] (trans-thalamic thesis, 3.3)."""
    black, white = INTENSITIES[intensity]
    return image if (black, white) == (0, 1) else image * np.float32(white - black) + np.float32(black)


def unit_range(volume: UInt16[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """Intensities of a volume in [0, 1]."""
    return volume.astype(np.float32) / np.float32(65535)


@dataclasses.dataclass(frozen=True)
class Letterbox:
    """Where a native frame lies, resized and zero-padded, in a square of `size` pixels. Shapes are (rows, columns)."""

    native_shape: tuple[int, int]
    size: int
    resized_shape: tuple[int, int]
    offset: tuple[int, int]  # of the resized frame in the square

    @classmethod
    def fit(cls, native_shape: tuple[int, int], size: int) -> "Letterbox":
        """The longest side becomes `size`, the aspect is kept to the nearest pixel, the padding is centred.

        Raises UserError if a side or the size is not positive.
        """
        height, width = (int(n) for n in native_shape)
        if min(height, width, size) < 1:
            raise UserError(f"cannot fit an image of {height}x{width} pixels into size {size}: all must be positive")
        scale = size / max(height, width)
        rows, columns = (max(1, round(n * scale)) for n in (height, width))
        offset = (size - rows) // 2, (size - columns) // 2
        return cls((height, width), int(size), (rows, columns), offset)

    @property
    def scale(self) -> tuple[float, float]:
        """Network pixels per native pixel, by axis: rounding to whole pixels makes the two differ slightly."""
        (rows, columns), (height, width) = self.resized_shape, self.native_shape
        return rows / height, columns / width

    def image_to_net(self, image: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "size size c"]:
        """The image in the square, in its own type: area average when it shrinks, else bilinear."""
        self._check(image, self.native_shape)
        return self._pad(resize(image, self.resized_shape))

    def labels_to_net(self, labels: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "size size"]:
        """Class ids in the square: the class that covers most of a pixel, of two that cover the same the lower id."""
        self._check(labels, self.native_shape)
        ids = np.unique(labels)
        shares = np.stack([(labels == i).astype(np.float32) for i in ids], axis=-1)
        winner = resize(shares, self.resized_shape).argmax(axis=-1)
        return self._pad(ids[winner])

    def weights(self) -> Float[np.ndarray, "size size"]:
        """1 on the image, 0 in the padding."""
        return self._pad(np.ones(self.resized_shape, np.float32))

    def probs_to_native(self, probs: Float[np.ndarray, "size size c"]) -> Float[np.ndarray, "h w c"]:
        """Probabilities on the native pixels: the padding is cropped, the rest resized."""
        self._check(probs, (self.size, self.size))
        (top, left), (height, width) = self.offset, self.resized_shape
        return resize(np.asarray(probs, np.float32)[top : top + height, left : left + width], self.native_shape)

    def spacing_to_net(self, spacing_mm: Float[np.ndarray, "2"]) -> Float[np.ndarray, "2"]:
        """The size of a network pixel in mm (row, column); an unknown spacing, 0, stays 0."""
        return np.asarray(spacing_mm, np.float32) / np.asarray(self.scale, np.float32)

    def _pad(self, array: np.ndarray) -> np.ndarray:
        square = np.zeros((self.size, self.size, *array.shape[2:]), array.dtype)
        (top, left), (height, width) = self.offset, self.resized_shape
        square[top : top + height, left : left + width] = array
        return square

    @staticmethod
    def _check(array: np.ndarray, shape: tuple[int, int]) -> None:
        if array.shape[:2] != shape:
            raise ValueError(f"an array of shape {array.shape} does not match this letterbox's {shape}")


def resize(array: Shaped[np.ndarray, "h w c"], shape: tuple[int, int]) -> Shaped[np.ndarray, "h2 w2 c"]:
    """Area average when no axis grows, bilinear otherwise; any number of channels, uint8 or float32."""
    if array.shape[:2] == tuple(shape):
        return array.copy()
    shrinks = shape[0] <= array.shape[0] and shape[1] <= array.shape[1]
    how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    channels = [cv2.resize(np.ascontiguousarray(c), shape[::-1], interpolation=how) for c in np.moveaxis(array, -1, 0)]
    return np.stack(channels, axis=-1)
