"""Boundaries of masks and the distances between them: exact, in double precision, in any number of axes."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

CROWDED = 0.15  # boundary pixels a pixel, above which a distance transform of the whole is faster than a tree of points
Pair = tuple[Float[np.ndarray, " _first"], Float[np.ndarray, " _second"]]  # there and back
ROUNDING = 1 + 1e-7  # three pixels of 0.1 mm, stored in single precision, are within 0.3 mm


@dataclasses.dataclass(frozen=True)
class Distances:
    """Of one structure in one image, in one unit. Infinite where the other side does not have it."""

    from_prediction: Float[np.ndarray, " _points"]  # d(P→R)
    from_labels: Float[np.ndarray, " _points"]  # d(R→P)
    diagonal: float  # of the image
    tolerance: float  # of surface Dice

    def capped(self) -> Pair:
        """Both directions, with the diagonal as the distance to nothing."""
        return np.minimum(self.from_prediction, self.diagonal), np.minimum(self.from_labels, self.diagonal)

    def within(self) -> int:
        """How many are within tolerance."""
        limit = self.tolerance * ROUNDING
        return int(np.count_nonzero(self.from_prediction <= limit) + np.count_nonzero(self.from_labels <= limit))


def boundary(mask: Bool[np.ndarray, "*space"]) -> Bool[np.ndarray, "*space"]:
    """Pixels of the mask with a neighbour along an axis that is not in it, or is beyond the frame."""
    centre = (slice(1, -1),) * mask.ndim
    padded = np.pad(mask, 1)
    inside = mask.copy()
    for axis in range(mask.ndim):
        for side in (slice(None, -2), slice(2, None)):
            inside &= padded[(*centre[:axis], side, *centre[axis + 1 :])]
    return mask & ~inside


def distances_between(
    first: Bool[np.ndarray, "*space"],
    second: Bool[np.ndarray, "*space"],
    spacing: Float[np.ndarray, " axes"] | None = None,
) -> list[Pair]:
    """From each boundary pixel of either mask to the nearest one of the other; infinite where the other is empty.

    Returns (of the first, of the second) in pixels and, where there is a spacing, again in its unit.
    """
    box = _bounding_box(first | second)
    edges = boundary(first[box]), boundary(second[box])
    px = _nearest(*edges, np.ones(first.ndim))
    if spacing is None:
        return [px]
    if np.ptp(spacing) == 0:
        return [px, (px[0] * spacing[0], px[1] * spacing[0])]
    return [px, _nearest(*edges, spacing)]


def _bounding_box(mask: np.ndarray) -> tuple[slice, ...]:
    axes = range(mask.ndim)
    occupied = [np.flatnonzero(mask.any(tuple(a for a in axes if a != axis))) for axis in axes]
    return tuple(slice(i[0], i[-1] + 1) if i.size else slice(0, 0) for i in occupied)


def _nearest(first: np.ndarray, second: np.ndarray, spacing: np.ndarray) -> Pair:
    counts = np.count_nonzero(first), np.count_nonzero(second)
    if 0 in counts:
        return np.full(counts[0], np.inf), np.full(counts[1], np.inf)
    if sum(counts) > CROWDED * first.size:
        return distance_transform_edt(~second, spacing)[first], distance_transform_edt(~first, spacing)[second]
    of_first, of_second = _points(first, spacing), _points(second, spacing)
    return cKDTree(of_second).query(of_first)[0], cKDTree(of_first).query(of_second)[0]


def _points(edge: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    return np.column_stack(np.unravel_index(np.flatnonzero(edge), edge.shape)) * spacing
