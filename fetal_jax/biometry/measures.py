"""What a sonographer measures on a plane through the fetal head, from a map of classes; in mm.

Definitions, and how well they recover known sizes, are in docs/biometry.md. In short:

- The head is the ellipse of all that is head: class `head`, or `skull` with all inside it, or `brain` with all inside
  it where there is no skull. HC, BPD and OFD are its circumference and axes, outer to outer, as in
  Salomon et al., Ultrasound Obstet Gynecol 2011;37:116-126. Of `brain` alone it is the inside of the skull.
- TCD is the extent of the cerebellum across the head's long axis, its outer edges included.
- The width of a lateral ventricle is the diameter of the largest circle inside it.
- The width of the cavum is that of the middle half of its sides, across the head's long axis.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Bool, Float, Integer, Real

from fetal_jax.anatomy.ellipse import Ellipse, fit_mask, large_components, largest_component
from fetal_jax.biometry import outlines

HEAD = ("head", "skull", "brain")  # any of these makes a head
INSIDE = ("csp", "lv", "cerebellum")
MEASURES = (
    "hc_mm",
    "bpd_mm",
    "bpd_outer_inner_mm",
    "ofd_mm",
    "head_area_mm2",
    "head_eccentricity",
    "head_orientation_deg",
    "cephalic_index",
    "tcd_mm",
    "lv_mm",
    "csp_mm",
    "csp_length_mm",
)
ROUND = 0.97  # a head of a larger BPD / OFD has no axis to speak of; the largest of HC18 is 0.96
HEMISPHERE = 0.5  # of the other one's area at least, where a network misses the vermis between them
PIXELS = (1.0, 1.0)  # a spacing in which mm are pixels
NAN = float("nan")
Labels = Integer[np.ndarray, "h w"]
Mask = Bool[np.ndarray, "h w"]
KnownSpacing = Sequence[float] | Real[np.ndarray, "2"]
Spacing = KnownSpacing | None


def measure(labels: Labels, classes: Sequence[str], spacing_mm: Spacing) -> dict[str, float]:
    """All of `MEASURES`, NaN where a structure is absent, too small, or no class of these.

    `classes` are names by id, the background first; `spacing_mm` is (row, column), and 0, NaN or None where unknown:
    then only eccentricity, orientation and cephalic index have values, those of square pixels. The orientation is that
    of the head's long axis, from the column axis towards the row axis (clockwise on the screen), in [0, 180).

    Raises ValueError for labels that are not a class.
    """
    return measure_in(head_ellipse(labels, classes, PIXELS), labels, classes, spacing_mm)


def measure_in(
    head_px: Ellipse | None, labels: Labels, classes: Sequence[str], spacing_mm: Spacing
) -> dict[str, float]:
    """As `measure`, where the head is known in pixels: `head_ellipse(labels, classes, PIXELS)`."""
    found = dict.fromkeys(MEASURES, NAN)
    spacing = known_spacing(spacing_mm)
    head = None if head_px is None else head_px.in_mm(PIXELS if spacing is None else spacing)
    if head is not None:
        found |= _shape_of_head(head)
    if spacing is None:
        return found
    if head is not None:
        found |= _size_of_head(head)
        found["bpd_outer_inner_mm"] = _outer_inner(head, labels, classes, spacing)
    axis = None if head is None or found["cephalic_index"] > ROUND else head.angle
    found["tcd_mm"] = _tcd(_mask(labels, classes, ("cerebellum",)), spacing, axis)
    found["lv_mm"] = outlines.inscribed_diameter(_mask(labels, classes, ("lv",)), spacing)
    found["csp_mm"], found["csp_length_mm"] = _csp(_mask(labels, classes, ("csp",)), spacing, axis)
    return found


def known_spacing(spacing_mm: Spacing) -> Float[np.ndarray, "2"] | None:
    """The size of a pixel (row, column) in mm, None where it is not known."""
    if spacing_mm is None:
        return None
    spacing = np.asarray(spacing_mm, float)
    return spacing if np.all((spacing > 0) & np.isfinite(spacing)) else None


def head_ellipse(labels: Labels, classes: Sequence[str], spacing_mm: KnownSpacing) -> Ellipse | None:
    """The head in mm, longer semi-axis first, as far as it is in the frame; None if none can be fitted."""
    check_labels(labels, classes)
    if not _mask(labels, classes, HEAD).any():
        return None
    return _fit(_mask(labels, classes, HEAD + INSIDE), spacing_mm)


def check_labels(labels: Labels, classes: Sequence[str]) -> None:
    """Raises ValueError for labels that are not a class."""
    lowest, highest = int(labels.min(initial=0)), int(labels.max(initial=0))
    if lowest < 0 or highest >= len(classes):
        raise ValueError(f"labels reach from {lowest} to {highest}, but there are {len(classes)} classes")


def _fit(mask: Mask, spacing_mm: KnownSpacing) -> Ellipse | None:
    try:
        return fit_mask(largest_component(mask)).in_mm(spacing_mm)
    except ValueError:  # too little border, or none of an ellipse
        return None


def _mask(labels: Labels, classes: Sequence[str], names: Sequence[str]) -> Mask:
    """Where any of these classes is; nowhere for a name that is not a class."""
    wanted = np.zeros(256, np.uint8)
    wanted[[classes.index(name) for name in names if name in classes]] = 1
    return cv2.LUT(labels.astype(np.uint8, copy=False), wanted).view(bool)


def _shape_of_head(head: Ellipse) -> dict[str, float]:
    ratio = head.semi_axes[1] / head.semi_axes[0]
    return {
        "head_eccentricity": float(np.sqrt(1 - ratio**2)),
        "head_orientation_deg": float(np.rad2deg(head.angle) % 180),
        "cephalic_index": ratio,
    }


def _size_of_head(head: Ellipse) -> dict[str, float]:
    long, short = head.semi_axes
    return {
        "hc_mm": head.circumference(),
        "ofd_mm": 2 * long,
        "bpd_mm": 2 * short,
        "head_area_mm2": float(np.pi * long * short),
    }


def _outer_inner(head: Ellipse, labels: Labels, classes: Sequence[str], spacing_mm: np.ndarray) -> float:
    """BPD from the outer edge of one side of the skull to the inner edge of the other; NaN without a skull."""
    if not _mask(labels, classes, ("skull",)).any():
        return NAN
    inner = _fit(_mask(labels, classes, [name for name in HEAD + INSIDE if name != "skull"]), spacing_mm)
    return NAN if inner is None else head.semi_axes[1] + inner.semi_axes[1]


def _tcd(mask: Mask, spacing_mm: np.ndarray, axis: float | None) -> float:
    points = outlines.outline(large_components(mask, HEMISPHERE), spacing_mm)
    return outlines.largest_extent(points) if axis is None else outlines.extent(points, axis + np.pi / 2)


def _csp(mask: Mask, spacing_mm: np.ndarray, axis: float | None) -> tuple[float, float]:
    """Width and length."""
    points = outlines.outline(largest_component(mask), spacing_mm)
    if not len(points):
        return NAN, NAN
    axis = outlines.own_axis(points) if axis is None else axis
    return outlines.middle_width(points, axis), outlines.extent(points, axis)
