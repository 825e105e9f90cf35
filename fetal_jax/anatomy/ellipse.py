"""The ellipse behind an HC18 outline or a predicted mask: fitted, filled, measured.

HC18 annotates a head by a thin elliptic outline. Its least-squares ellipse gives the published head
circumference to 0.05 mm. Moments of the filled region would overshoot by 1 mm, since it reaches to the
outline's outer rim, and filling holes fails where the head leaves the frame.
"""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Real, UInt8
from scipy.special import ellipe

MIN_OUTLINE = 20  # pixels; five fix an ellipse, but not one to measure
MAX_RESIDUAL = 0.1  # of the ellipse's own radius; HC18's own outlines stay below 0.011
ROUNDS = 8  # of undoing what the grid of pixels does to a fit; two to four are the rule
CLOSE_PX = 0.002
SMALL_PX = 5.0  # a semi-axis that is not worth it
Points = tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]  # rows and columns


@dataclasses.dataclass(frozen=True)
class Ellipse:
    """In pixels, whose centres have whole coordinates, or in mm after `in_mm`."""

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
        """By the complete elliptic integral of the second kind: 4 a E(1 - b^2 / a^2)."""
        minor, major = sorted(self.semi_axes)
        return float(4 * major * ellipe(1 - (minor / major) ** 2))

    def outline(self, points: int = 720) -> Float[np.ndarray, "points 2"]:
        """Row and column of points all around."""
        t = np.linspace(0, 2 * np.pi, points, endpoint=False)
        along, across = self.semi_axes[0] * np.cos(t), self.semi_axes[1] * np.sin(t)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        return np.stack([self.centre[0] + along * sin + across * cos, self.centre[1] + along * cos - across * sin], -1)

    def in_mm(self, spacing_mm: Sequence[float] | Real[np.ndarray, "2"]) -> "Ellipse":
        """The same ellipse in mm, longer semi-axis first, for pixels of that size (row, column), square or not."""
        rows_mm, columns_mm = (float(size) for size in spacing_mm)
        scale = np.diag([rows_mm, columns_mm])
        directions, semi_axes, _ = np.linalg.svd(scale @ _stretch(self))
        centre = self.centre[0] * rows_mm, self.centre[1] * columns_mm
        return Ellipse(centre, (float(semi_axes[0]), float(semi_axes[1])), _angle(directions[:, 0]))


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
        raise ValueError("is not the outline of an ellipse: expected a closed thin curve, not a filled mask")
    return ellipse


def fit_mask(mask: Bool[np.ndarray, "h w"]) -> Ellipse:
    """The ellipse of a filled mask's border, longer semi-axis first; holes count as filled.

    The border runs half-way between each pixel inside and its neighbour outside: the outermost pixels themselves lie
    half a pixel too far in. Where the mask touches the frame nobody knows its border, and nothing is fitted there.
    The least-squares fit is then freed from the chance of where pixels lie: see `_off_the_grid`.
    Raises ValueError, with what is wrong in words, if there is too little border or it is a line.
    """
    rows, columns = _border(mask)
    if len(rows) < MIN_OUTLINE:
        raise ValueError(f"has {len(rows)} border points, too few to fit an ellipse (at least {MIN_OUTLINE})")
    return _off_the_grid(_fit(rows, columns), mask.shape)


def largest_component(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest piece of a mask, by pixels that touch, also at a corner; an empty one stays empty."""
    return large_components(mask, 1.0)


def large_components(mask: Bool[np.ndarray, "h w"], share: float) -> Bool[np.ndarray, "h w"]:
    """The pieces of a mask that have at least `share` of the pixels of the largest one; only one has all of them."""
    if not mask.any():  # OpenCV crashes where there is nothing to label
        return mask
    box = bounding_box(mask)
    crop = np.ascontiguousarray(mask[box]).view(np.uint8)
    if len(cv2.findContours(crop, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]) <= 1:  # far sooner than labelling it
        return mask
    _, pieces, statistics, _ = cv2.connectedComponentsWithStats(crop)
    areas = statistics[1:, cv2.CC_STAT_AREA]
    kept = areas >= share * areas.max() if share < 1 else np.arange(len(areas)) == areas.argmax()
    large = np.zeros_like(mask)
    large[box] = np.concatenate([[False], kept])[pieces]
    return large


def bounding_box(mask: Bool[np.ndarray, "h w"], margin: int = 0) -> tuple[slice, slice]:
    """Rows and columns that hold the mask and `margin` pixels around, as far as the frame goes."""
    column, row, width, height = cv2.boundingRect(mask.view(np.uint8))
    rows = slice(max(row - margin, 0), row + height + margin)
    return rows, slice(max(column - margin, 0), column + width + margin)


def _border(mask: Bool[np.ndarray, "h w"]) -> Points:
    """The points between two neighbours of which one is inside; holes count as filled."""
    box = bounding_box(mask, margin=1)
    padded = np.pad(mask[box].view(np.uint8), 1)
    cv2.floodFill(padded, None, (0, 0), 2)
    inside = padded[1:-1, 1:-1] != 2
    above = _where(inside[1:] != inside[:-1])
    left = _where(inside[:, 1:] != inside[:, :-1])
    rows, columns = np.concatenate([above[0] + 0.5, left[0]]), np.concatenate([above[1], left[1] + 0.5])
    return rows + box[0].start, columns + box[1].start


def _where(mask: Bool[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray]:
    """np.nonzero, ten times as fast where little is set."""
    return np.divmod(np.flatnonzero(mask), mask.shape[1])


def _fit(rows: Real[np.ndarray, " n"], columns: Real[np.ndarray, " n"]) -> Ellipse:
    points = np.stack([columns, rows], axis=1).astype(np.float32)
    (x, y), diameters, degrees = cv2.fitEllipseDirect(points)
    if not min(diameters) > 1:  # a straight line, or NaN
        raise ValueError("is not an ellipse: its outline is a line")
    return Ellipse((y, x), (diameters[0] / 2, diameters[1] / 2), float(np.deg2rad(degrees)))


def _off_the_grid(fitted: Ellipse, shape: tuple[int, int]) -> Ellipse:
    """The ellipse that, drawn on the grid and fitted, gives `fitted`: free of the error that the grid makes.

    Each round draws the guess, fits it, and moves the guess by what that fit lacks. Guesses go on to scatter a little
    among the ellipses that give the same mask, so that their mean is better than the last.
    """
    target = _parameters(fitted)
    guesses, guess = [], target
    for _ in range(ROUNDS):
        drawn = _drawn_border(guess, shape)
        far = not np.abs(guess - target).max() < 1  # too much of it is out of the frame
        if far or len(drawn[0]) < MIN_OUTLINE or min(fitted.semi_axes) < SMALL_PX:
            return _from_parameters(target)
        gap = target - _parameters(_fit(*drawn))
        guesses.append(guess)
        if np.abs(gap).max() < CLOSE_PX:
            break
        guess = guess + gap
    return _from_parameters(np.mean(guesses[2:] or guesses[-1:], axis=0))


def _stretch(ellipse: Ellipse) -> Float[np.ndarray, "2 2"]:
    """The symmetric matrix that makes the ellipse of the unit circle, in rows and columns."""
    cos, sin = np.cos(ellipse.angle), np.sin(ellipse.angle)
    turn = np.array([[sin, cos], [cos, -sin]])
    return turn @ np.diag(ellipse.semi_axes) @ turn


def _angle(direction: Float[np.ndarray, "2"]) -> float:
    """In [0, pi), of a direction (row, column)."""
    return float(np.arctan2(direction[0], direction[1]) % np.pi)


def _parameters(ellipse: Ellipse) -> Float[np.ndarray, "5"]:
    """Five lengths that change smoothly where an angle would not, as for circles."""
    stretch = _stretch(ellipse)
    return np.array([*ellipse.centre, stretch[0, 0], stretch[0, 1], stretch[1, 1]])


def _from_parameters(five: Float[np.ndarray, "5"]) -> Ellipse:
    row, column, a, b, c = (float(number) for number in five)
    semi_axes, directions = np.linalg.eigh([[a, b], [b, c]])
    return Ellipse((row, column), (float(semi_axes[1]), float(semi_axes[0])), _angle(directions[:, 1]))


def _drawn_border(five: Float[np.ndarray, "5"], shape: tuple[int, int]) -> Points:
    """What `_border` finds of the ellipse drawn in a frame, without drawing it."""
    row, column, a, b, c = five
    stretch = np.array([[a, b], [b, c]])
    inverse = np.linalg.inv(stretch @ stretch)
    rows, beside = _crossings(shape, (row, column), inverse)
    columns, below = _crossings(shape[::-1], (column, row), inverse[::-1, ::-1])
    return np.concatenate([rows, below]), np.concatenate([beside, columns])


def _crossings(shape: tuple[int, int], centre: tuple[float, float], inverse: Float[np.ndarray, "2 2"]) -> Points:
    """Where each line of the grid along the second axis goes in and out of the ellipse: line, half-way point."""
    lines = np.arange(shape[0], dtype=float)
    (a, b), (_, c) = inverse
    d = lines - centre[0]
    roots = (b * d) ** 2 - c * (a * d * d - 1)
    lines, d, root = lines[roots > 0], d[roots > 0], np.sqrt(roots[roots > 0])
    first = np.ceil(centre[1] - (b * d + root) / c)  # pixel inside
    last = np.floor(centre[1] - (b * d - root) / c)
    goes_in = (first <= last) & (first >= 1) & (first < shape[1])
    goes_out = (first <= last) & (last >= 0) & (last < shape[1] - 1)
    half_way = np.concatenate([first[goes_in] - 0.5, last[goes_out] + 0.5])
    return np.concatenate([lines[goes_in], lines[goes_out]]), half_way
