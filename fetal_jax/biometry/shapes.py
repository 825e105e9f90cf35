"""Size, shape and place of each structure of a map of classes, by scikit-image's regionprops."""

import dataclasses
from collections.abc import Sequence

import cv2
import numpy as np
from skimage.measure import regionprops

from fetal_jax.biometry.measures import NAN, Labels, Spacing, check_labels, known_spacing


@dataclasses.dataclass(frozen=True)
class Shape:
    """Of all pixels of a class together; NaN where it is absent, `area_mm2` also where the spacing is unknown.

    Eccentricity and orientation are those of the ellipse of the same second moments, in mm if the spacing is known,
    else of square pixels. The orientation is that of its long axis, from the column axis towards the row axis, in
    [0, 180). The box is (first row, first column, last row, last column), the last ones within it.
    """

    area_px: int
    area_mm2: float
    eccentricity: float
    orientation_deg: float
    centroid_px: tuple[float, float]  # row, column
    box_px: tuple[int, int, int, int]
    pieces: int


ABSENT = Shape(0, NAN, NAN, NAN, (NAN, NAN), (0, 0, -1, -1), 0)


def shapes(labels: Labels, classes: Sequence[str], spacing_mm: Spacing) -> dict[str, Shape]:
    """A `Shape` for each foreground class. Raises ValueError for labels that are no class."""
    check_labels(labels, classes)
    spacing = known_spacing(spacing_mm)
    found = {classes[region.label]: _shape(region, spacing) for region in _regions(labels, spacing)}
    return {name: found.get(name, ABSENT) for name in classes[1:]}


def _regions(labels: Labels, spacing: np.ndarray | None) -> list:
    return regionprops(labels, spacing=(1.0, 1.0) if spacing is None else tuple(spacing.tolist()))


def _shape(region, spacing: np.ndarray | None) -> Shape:
    top, left, bottom, right = region.bbox
    sizes = np.ones(2) if spacing is None else spacing
    row, column = (np.asarray(region.centroid) / sizes).tolist()
    pieces, _ = cv2.connectedComponents(region.image.view(np.uint8))
    return Shape(
        area_px=int(region.num_pixels),
        area_mm2=NAN if spacing is None else float(region.num_pixels * sizes.prod()),
        eccentricity=float(region.eccentricity),
        orientation_deg=float((90 - np.rad2deg(region.orientation)) % 180),
        centroid_px=(row, column),
        box_px=(top, left, bottom - 1, right - 1),
        pieces=pieces - 1,
    )
