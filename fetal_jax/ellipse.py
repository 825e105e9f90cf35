"""The ellipse behind an HC18 outline or a predicted mask: fitted, filled, measured.

HC18 annotates a head by a thin elliptic outline. Its least-squares ellipse gives the published head
circumference to 0.05 mm. Moments of the filled region would overshoot by 1 mm, since it reaches to the
outline's outer rim, and filling holes fails where the head leaves the frame.
"""

import dataclasses

import cv2
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float, Real, UInt8
from scipy.special import ellipe

MIN_OUTLINE = 20  # pixels; five fix an ellipse, but not one to measure
MAX_RESIDUAL = 0.1  # of the ellipse's own radius; HC18's own outlines stay below 0.011


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """In pixels; pixel centres have whole coordinates."""

    centre: tuple[float, float]  # row, column
    semi_axes: tuple[float, float]  # along `angle`, and across it
    angle: float  # radians, from the column axis towards the row axis

    def radius(
        self, rows: Real[np.ndarray, "*#shape"], columns: Real[np.ndarray, "*#shape"]
    ) -> Float[np.ndarray, "*#shape"]:
        """Distance from the centre in units of the ellipse: below 1 inside, 1 on it."""
        y, x = rows - self.centre[0], columns - self.centre[1]
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.hypot((x * cos + y * sin) / self.semi_axes[0], (y * cos - x * sin) / self.semi_axes[1])

    def fill(self, shape: tuple[int, int]) -> UInt8[np.ndarray, "h w"]:
        """1 where the pixel centre is inside, 0 elsewhere; what leaves the frame is cut off."""
        rows, columns = np.ogrid[: shape[0], : shape[1]]
        return (self.radius(rows, columns) <= 1).astype(np.uint8)

    def circumference(self) -> float:
        """In pixels, by the complete elliptic integral of the second kind: 4 a E(1 - b^2 / a^2)."""
        minor, major = sorted(self.semi_axes)
        return float(4 * major * ellipe(1 - (minor / major) ** 2))


def fit_outline(outline: Bool[np.ndarray, "h w"]) -> Ellipse:
    """The least-squares ellipse through the middle of an outline, which may leave the frame.

    Direct least squares of Fitzgibbon, Pilu and Fisher (1999): linear, and always an ellipse, too small a one
    where more than half of it is out of the frame. Raises ValueError, with what is wrong in words, if there
    are too few pixels or they lie on no ellipse.
    """
    rows, columns = np.nonzero(outline)
    if len(rows) < MIN_OUTLINE:
        raise ValueError(f"has {len(rows)} outline pixels, too few to fit an ellipse (at least {MIN_OUTLINE})")
    ellipse = _fit(rows, columns)
    residual = np.sqrt(np.mean((ellipse.radius(rows, columns) - 1) ** 2))
    if not residual < MAX_RESIDUAL:
        raise ValueError("is no ellipse outline: expected a closed thin curve, not a filled mask")
    return ellipse


def fit_mask(mask: Bool[np.ndarray, "h w"]) -> Ellipse:
    """The least-squares ellipse of a filled mask's border; holes count as filled.

    The border runs half-way between each pixel inside and its neighbour outside: the outermost pixels themselves lie
    half a pixel too far in. Where the mask touches the frame nobody knows its border, and nothing is fitted there.
    Raises ValueError, with what is wrong in words, if there is too little border or it is a line.
    """
    rows, columns = _border(scipy.ndimage.binary_fill_holes(mask))
    if len(rows) < MIN_OUTLINE:
        raise ValueError(f"has {len(rows)} border points, too few to fit an ellipse (at least {MIN_OUTLINE})")
    return _fit(rows, columns)


def _border(mask: Bool[np.ndarray, "h w"]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Rows and columns of the points between two neighbours of which one is inside."""
    above, left = np.nonzero(mask[1:] != mask[:-1]), np.nonzero(mask[:, 1:] != mask[:, :-1])
    rows = np.concatenate([above[0] + 0.5, left[0]])
    columns = np.concatenate([above[1], left[1] + 0.5])
    return rows, columns


def _fit(rows: Real[np.ndarray, " n"], columns: Real[np.ndarray, " n"]) -> Ellipse:
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    (x, y), diameters, degrees = cv2.fitEllipseDirect(points)
    if not min(diameters) > 1:  # a straight line, or NaN
        raise ValueError("is no ellipse: its outline is a line")
    return Ellipse((y, x), (diameters[0] / 2, diameters[1] / 2), float(np.deg2rad(degrees)))
