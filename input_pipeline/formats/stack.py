"""The content of an image file of any format: frames or slices, pixel size, affine."""

import dataclasses
import math

import numpy as np
from jaxtyping import Real, UInt8

from input_pipeline.formats.raster import to_grey

PERCENTILES = (0.5, 99.5)  # that become black and white in images deeper than 8 bits


@dataclasses.dataclass(frozen=True)
class Stack:
    """One frame or more, in the bit depth of the file."""

    frames: np.ndarray  # [n h w], or [n h w 3|4] with blue first
    is_volume: bool = False  # frames are numbered, even a single one
    spacing_mm: tuple[float, float] = (0.0, 0.0)  # row, column; 0 is unknown
    affine: Real[np.ndarray, "4 4"] | None = None

    def __post_init__(self):
        if not np.isfinite(self.frames).all():
            raise ValueError("has values that are not finite (NaN or infinity)")
        if not self.frames.size:
            raise ValueError("has no pixels")

    @property
    def shape(self) -> tuple[int, ...]:
        """[h w], or [n h w] of a volume or film, without colours."""
        return self.frames.shape[0 if self.is_volume else 1 : 3]

    def grey(self) -> UInt8[np.ndarray, "n h w"]:
        """8-bit grey values. Deeper ones are scaled by percentiles 0.5 and 99.5 of the whole file, then clipped."""
        return to_8_bits(np.stack([to_grey(frame) for frame in self.frames]))


def spacing_or_unknown(row_mm: float, column_mm: float) -> tuple[float, float]:
    """Both unchanged, or (0, 0), unknown, where one is not a positive finite number."""
    return (row_mm, column_mm) if 0 < row_mm < math.inf and 0 < column_mm < math.inf else (0.0, 0.0)


def to_8_bits(pixels: np.ndarray) -> UInt8[np.ndarray, "..."]:
    """8-bit values unchanged; others scaled from percentile 0.5 (0) to 99.5 (255) and clipped, all 0 if all equal."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = np.percentile(pixels, PERCENTILES)
    if high <= low:  # nearly all pixels have one value: the others are what the image shows
        low, high = float(pixels.min()), float(pixels.max())
    scaled = (pixels.astype(np.float32) - low) / max(high - low, np.finfo(np.float32).tiny)
    return np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
