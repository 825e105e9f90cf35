"""The outline of a small structure between its pixels, and what a caliper would read on it.

A mask of 20 pixels' width, measured from pixel to pixel, is wrong by up to a pixel, 5 %. So a mask is smoothed by one
pixel and its outline is the curve where it falls to a half. On ellipses with semi-axes of 4 to 50 pixels that curve is
0.12 pixels from the truth on average, and 0.02 to 0.06 of that too far in.
"""

import cv2
import numpy as np
import scipy.ndimage
from jaxtyping import Bool, Float
from scipy.spatial import cKDTree
from skimage.measure import find_contours

from fetal_jax.anatomy.ellipse import bounding_box

SMOOTHING_PX = 1.0
MARGIN_PX = 4
PIECES = 4  # in which a circle is looked for, the largest first
DIRECTIONS = np.deg2rad(np.arange(180.0))
NAN = float("nan")
Outline = Float[np.ndarray, "n 2"]  # rows and columns, mm


def outline(mask: Bool[np.ndarray, "h w"], spacing_mm: Float[np.ndarray, "2"]) -> Outline:
    """Points around all pieces of a mask, in mm; none of pieces below some 3 x 3 pixels, too few to measure."""
    if not mask.any():
        return np.zeros((0, 2))
    box = bounding_box(mask)
    crop = np.pad(mask[box].astype(np.float32), MARGIN_PX)
    smooth = cv2.GaussianBlur(crop, (0, 0), SMOOTHING_PX, borderType=cv2.BORDER_CONSTANT)
    corner = np.array([box[0].start, box[1].start]) - MARGIN_PX
    return (np.concatenate([np.zeros((0, 2)), *find_contours(smooth, 0.5)]) + corner) * spacing_mm


def extent(points: Outline, angle: float) -> float:
    """How far the points reach along a direction, given by its angle from the column axis towards the row axis."""
    return float(np.ptp(points @ _direction(angle))) if len(points) else NAN


def largest_extent(points: Outline) -> float:
    """The greatest distance that two parallel jaws have, in any direction: the maximum Feret diameter."""
    return max(extent(points, angle) for angle in DIRECTIONS) if len(points) else NAN


def own_axis(points: Outline) -> float:
    """The angle of the direction in which the points scatter most, from the column axis towards the row axis."""
    _, _, directions = np.linalg.svd(points - points.mean(axis=0), full_matrices=False)
    return float(np.arctan2(*directions[0]))


def middle_width(points: Outline, axis: float) -> float:
    """The mean distance of the two sides in the middle half along an axis: how wide a box or a band is.

    The width of a box is that of its sides; its extent would grow with each degree that it is turned.
    """
    if not len(points):
        return NAN
    along, across = points @ _direction(axis), points @ _direction(axis + np.pi / 2)
    middle, length = (along.min() + along.max()) / 2, np.ptp(along)
    sides = across[np.abs(along - middle) <= length / 4]
    if not len(sides) or np.ptp(sides) == 0:  # two drops and nothing between them
        return NAN
    one = sides > sides.mean()
    return float(sides[one].mean() - sides[~one].mean())


def inscribed_diameter(mask: Bool[np.ndarray, "h w"], spacing_mm: Float[np.ndarray, "2"]) -> float:
    """The diameter in mm of the largest circle in any piece: the inner width at the widest place, however it turns."""
    pieces = _largest_pieces(mask) if mask.any() else []
    diameters = [_inscribed(piece, spacing_mm) for piece in pieces]
    return max((diameter for diameter in diameters if not np.isnan(diameter)), default=NAN)


def _largest_pieces(mask: Bool[np.ndarray, "h w"]) -> list[Bool[np.ndarray, "_ _"]]:
    """Each cut out: the distances in a crop of one are found in no time, those between two take ten times as long."""
    number, pieces, statistics, _ = cv2.connectedComponentsWithStats(mask[bounding_box(mask)].view(np.uint8))
    by_size = 1 + np.argsort(-statistics[1:number, cv2.CC_STAT_AREA])
    found = [pieces == piece for piece in by_size[:PIECES]]
    return [piece[bounding_box(piece)] for piece in found]


def _inscribed(piece: Bool[np.ndarray, "h w"], spacing_mm: Float[np.ndarray, "2"]) -> float:
    points = outline(piece, spacing_mm)
    if not len(points):
        return NAN
    depth = scipy.ndimage.distance_transform_edt(np.pad(piece, 1), sampling=spacing_mm)[1:-1, 1:-1]
    near_deepest = (depth > 0) & (depth > depth.max() - 0.75 * spacing_mm.max())  # the centre is within these pixels
    shifts = np.stack(np.meshgrid(*[np.linspace(-0.5, 0.5, 5)] * 2), axis=-1).reshape(-1, 2)
    centres = (np.argwhere(near_deepest)[:, None] + shifts).reshape(-1, 2)
    return float(2 * cKDTree(points).query(centres * spacing_mm)[0].max())


def _direction(angle: float) -> Float[np.ndarray, "2"]:
    return np.array([np.sin(angle), np.cos(angle)])
