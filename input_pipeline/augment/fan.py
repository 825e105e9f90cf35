"""Finds the fan of a convex or sector probe, the non-black part of an ultrasound frame, and its apex at the probe.

The sides of a fan are straight and meet at its apex. They are found on the convex hull of the largest bright region,
so that dark tissue, a grey bar or a line of text beside the fan do not matter. An image without such sides (a linear
probe, a crop inside the fan, MRI) has no fan: its rays run straight down.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8

DARK = 8  # grey values up to here are no echo, even after lossy compression
SMALLEST = 0.1  # of the frame; a smaller bright region is not a fan
BENT = 0.015  # of the frame's longer side: a side that deviates more from a straight line is not a fan's
NARROW, WIDE = np.tan(np.deg2rad([3.0, 75.0]))  # slopes of a side against the vertical


@dataclasses.dataclass(frozen=True, eq=False)
class Fan:
    """The fan of an image of shape [h w]."""

    found: bool
    apex: tuple[float, float]  # (x, y) where all rays meet, often above the frame; without a fan far above it
    opening: float  # degrees between the sides; without a fan 0
    mask: Bool[np.ndarray, "h w"]  # where tissue may be shown; without a fan everywhere

    def polar(self) -> tuple[Float32[np.ndarray, "h w"], Float32[np.ndarray, "h w"]]:
        """Of each pixel: across, from 0 on the fan's left side to 1 on its right, and depth, from 0 at the probe to 1.

        Pixels outside the fan are below 0 or above 1.
        """
        height, width = self.mask.shape
        x = np.arange(width, dtype=np.float32)[None] - np.float32(self.apex[0])
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.apex[1])
        return self._from_0_to_1(np.arctan2(x, y)), self._from_0_to_1(np.hypot(x, y))

    def _from_0_to_1(self, values: np.ndarray) -> np.ndarray:
        inside = values[self.mask]
        low, high = inside.min(), inside.max()
        return (values - low) / max(high - low, np.float32(1e-6))


def find_fan(image: UInt8[np.ndarray, "h w c"]) -> Fan:
    """The fan; where none is found, the whole frame under a probe that is far away."""
    outline = _outline(image.max(axis=2))
    if outline is not None:
        sides = _sides(outline)
        if sides is not None:
            return Fan(True, *sides, outline > 0)
    height, width = image.shape[:2]
    return Fan(False, ((width - 1) / 2, -10.0 * height), 0.0, np.ones((height, width), bool))


def _outline(grey: UInt8[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w"] | None:
    """The convex hull of the largest bright region, filled with 1."""
    padded = np.pad((grey > DARK).astype(np.uint8), 5)  # without a margin, closing connects it to the frame
    square = np.ones((5, 5), np.uint8)
    smooth = cv2.morphologyEx(cv2.morphologyEx(padded, cv2.MORPH_CLOSE, square), cv2.MORPH_OPEN, square)
    bright = np.ascontiguousarray(smooth[5:-5, 5:-5])
    contours, _ = cv2.findContours(bright, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        return None
    hull = cv2.convexHull(max(contours, key=cv2.contourArea))
    if cv2.contourArea(hull) < SMALLEST * grey.size:
        return None
    return np.asarray(cv2.fillConvexPoly(np.zeros_like(bright), hull, 1))


def _sides(outline: UInt8[np.ndarray, "h w"]) -> tuple[tuple[float, float], float] | None:
    """The apex of the outline's straight sides, and their angle; None if it has none that open downwards."""
    rows = np.flatnonzero(outline.any(axis=1))
    left = outline[rows].argmax(axis=1)
    right = outline.shape[1] - 1 - outline[rows, ::-1].argmax(axis=1)
    bound = BENT * max(outline.shape)
    left_side, right_side = _side(rows, -left, bound), _side(rows, right, bound)
    if left_side is None or right_side is None:
        return None
    (left_slope, left_start), (right_slope, right_start) = left_side, right_side
    y = -(left_start + right_start) / (left_slope + right_slope)
    opening = np.rad2deg(np.arctan(left_slope) + np.arctan(right_slope))
    return (float(right_slope * y + right_start), float(y)), float(opening)


def _side(rows: np.ndarray, reach: np.ndarray, bound: float) -> tuple[float, float] | None:
    """Slope and start of the line along which a side reaches outwards, row by row, until its corner."""
    corner = int(np.argmax(reach >= reach.max() - 1))
    if corner < max(8, 0.15 * len(rows)):
        return None
    rows, reach = rows[3:corner], reach[3:corner]  # without the ends, which `_outline` rounds off
    slope, start = np.polyfit(rows, reach, 1)
    deviation = np.abs(slope * rows + start - reach).max()
    return (slope, start) if deviation <= bound * np.hypot(1, slope) and NARROW <= slope <= WIDE else None
