"""Features of a label map: one row per structure (thesis, Table 4.4), and one vector per image for models.

Positions and sizes of the vector are in the head's own axes, the axes of its fitted ellipse, so that they stay what
they are when the image is turned, mirrored or zoomed. Pixels are taken as square.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.anomaly.region import Moments, hull_area, outline_of, parts_of
from fetal_jax.biometry.measures import HEAD, PIXELS, head_ellipse, known_spacing, measure_in

OF_VECTOR = ("seen", "size", "eccentricity", "solidity", "along", "across", "length", "width", "thickness")
SIZES = ("hc_mm", "bpd_mm", "ofd_mm", "tcd_mm", "lv_mm", "csp_mm", "csp_length_mm")
RATIOS = {"tcd/hc": ("tcd_mm", "hc_mm"), "lv/bpd": ("lv_mm", "bpd_mm"), "csp/bpd": ("csp_mm", "bpd_mm")}
Spacing = Sequence[float] | Float[np.ndarray, "2"] | None
NAN = float("nan")


@dataclasses.dataclass(frozen=True)
class Structure:
    """A row of the feature table. Undefined values are NaN; the area of an absent structure is 0."""

    name: str
    seen: bool  # of at least MINIMUM_PX pixels
    area_px: int
    area_mm2: float  # NaN where the size of a pixel is unknown
    box: tuple[int, int, int, int] | None = None  # rows and columns: first, first, last + 1, last + 1
    centroid: tuple[float, float] = (NAN, NAN)  # row, column
    orientation: float = NAN  # of the long axis, radians in [0, pi) from the column axis towards the row axis
    eccentricity: float = NAN  # of the ellipse of the same second moments
    solidity: float = NAN  # area / area of the convex hull
    parts: int = 0  # connected ones of at least MINIMUM_PX pixels
    size: float = NAN  # square root of area / area of the head; 0 where absent
    along: float = NAN  # centroid from the head's centre in long semi-axes; the axis has no front, so no known sign
    across: float = NAN  # the same in short semi-axes
    length: float = NAN  # extent along the head's long axis, as a fraction of that axis
    width: float = NAN  # extent along the head's short axis, as a fraction of that axis
    thickness: float = NAN  # short axis of the largest part, as a fraction of the head's short axis


def features(labels: Integer[np.ndarray, "h w"], classes: Sequence[str], spacing_mm: Spacing = None) -> list[Structure]:
    """The table of one image: a row for the head, then one for each foreground class.

    `classes` are names by id, the background first; `spacing_mm` is by axis (row, column), None or 0 where unknown. The
    head is the largest connected region of all classes where they hold one of HEAD; its row has the measures of the
    fitted ellipse. Where there is no such head, what is relative to it is NaN. Source: thesis 4.6, Table 4.4.
    """
    return features_in(head_ellipse(labels, classes, PIXELS), labels, classes, spacing_mm)


def features_in(
    head_px: Ellipse | None, labels: Integer[np.ndarray, "h w"], classes: Sequence[str], spacing_mm: Spacing = None
) -> list[Structure]:
    """As `features`, where the head is known in pixels."""
    spacing = known_spacing(spacing_mm)
    pixel_mm2 = NAN if spacing is None else float(np.prod(spacing))
    rows = [_head_row(head_px, pixel_mm2)]
    return rows + [_row(name, labels == i, head_px, pixel_mm2) for i, name in enumerate(classes) if i]


def vector(rows: Sequence[Structure], measures: Mapping[str, float] | None = None) -> dict[str, float]:
    """The scalars of an image by name: `csp.size`, `csp-lv.distance`, `head.roundness`, `tcd/hc`, `tcd_mm` ...

    `measures` are those of `fetal_jax.biometry.measures.measure`. Undefined ones are NaN.
    """
    inside = [row for row in rows if row.name not in HEAD]
    values = {f"{row.name}.{key}": float(abs(getattr(row, key))) for row in inside for key in OF_VECTOR}
    for i, first in enumerate(inside):
        for second in inside[i + 1 :]:
            apart = first.along - second.along, first.across - second.across
            values[f"{first.name}-{second.name}.distance"] = math.hypot(*apart)
    values["cephalic_index"] = math.sqrt(1 - rows[0].eccentricity ** 2)  # BPD / OFD
    measures = measures or {}
    for name, (above, below) in RATIOS.items():
        values[name] = measures.get(above, NAN) / measures.get(below, NAN)
    return values | {name: measures.get(name, NAN) for name in SIZES}


def describe(
    labels: Integer[np.ndarray, "h w"], classes: Sequence[str], spacing_mm: Spacing = None
) -> dict[str, float]:
    """The vector of a label map with its biometry; sizes in mm only where the size of a pixel is known."""
    head_px = head_ellipse(labels, classes, PIXELS)
    return describe_rows(features_in(head_px, labels, classes, spacing_mm), head_px, labels, classes, spacing_mm)


def describe_rows(
    rows: Sequence[Structure],
    head_px: Ellipse | None,
    labels: Integer[np.ndarray, "h w"],
    classes: Sequence[str],
    spacing_mm: Spacing = None,
) -> dict[str, float]:
    """As `describe`, where the table and the head in pixels are known."""
    known = known_spacing(spacing_mm) is not None
    values = vector(rows, measure_in(head_px, labels, classes, spacing_mm if known else PIXELS))
    return {name: value for name, value in values.items() if known or not name.endswith("_mm")}


def _head_row(head: Ellipse | None, pixel_mm2: float) -> Structure:
    if head is None:
        return Structure("head", False, 0, 0.0 * pixel_mm2)
    (a, b), (row, column) = head.semi_axes, head.centre
    half_height, half_width = (
        math.hypot(a * math.cos(turn), b * math.sin(turn)) for turn in (head.angle - math.pi / 2, head.angle)
    )
    top, left = math.floor(row - half_height), math.floor(column - half_width)
    bottom, right = math.floor(row + half_height + 1), math.floor(column + half_width + 1)
    return Structure(
        "head",
        True,
        area_px=round(math.pi * a * b),
        area_mm2=math.pi * a * b * pixel_mm2,
        box=(top, left, bottom, right),
        centroid=head.centre,
        orientation=head.angle % math.pi,
        eccentricity=math.sqrt(1 - (b / a) ** 2),
        solidity=1.0,
        parts=1,
        size=1.0,
    )


def _row(name: str, mask: Bool[np.ndarray, "h w"], head: Ellipse | None, pixel_mm2: float) -> Structure:
    parts, origin = parts_of(mask)
    sizes = np.bincount(parts.ravel())[1:]
    area = int(sizes.sum())
    size = math.sqrt(area / (math.pi * math.prod(head.semi_axes))) if head else NAN
    if not area:
        return Structure(name, False, 0, 0.0 * pixel_mm2, size=size)
    whole, outline = Moments.of(parts > 0, origin), outline_of(parts > 0, origin)
    largest = whole if sizes.max() == area else Moments.of(parts == 1 + sizes.argmax(), origin)
    first, last = outline.min(0).tolist(), outline.max(0).tolist()
    return Structure(
        name,
        True,
        area,
        area * pixel_mm2,
        box=(first[0], first[1], last[0] + 1, last[1] + 1),
        centroid=whole.centroid,
        orientation=whole.orientation % math.pi,
        eccentricity=math.sqrt(max(0.0, 1 - (whole.axes[1] / whole.axes[0]) ** 2)) if whole.axes[0] else 0.0,
        solidity=min(1.0, area / hull_area(outline)),
        parts=int((sizes > 0).sum()),
        size=size,
        **(_in_head(outline, whole.centroid, largest.axes[1], head) if head else {}),
    )


def _in_head(
    outline: Integer[np.ndarray, "n 2"], centroid: tuple[float, float], minor_axis_px: float, head: Ellipse
) -> dict[str, float]:
    """Position and extents of a structure in the head's own axes."""
    y, x = (np.vstack([outline, centroid]) - np.array(head.centre)).T
    cos, sin = math.cos(head.angle), math.sin(head.angle)
    along, across = x * cos + y * sin, y * cos - x * sin
    a, b = head.semi_axes
    return {
        "along": float(along[-1]) / a,
        "across": float(across[-1]) / b,
        "length": float(np.ptp(along) + 1) / (2 * a),  # from outer edge to outer edge of the pixels
        "width": float(np.ptp(across) + 1) / (2 * b),
        "thickness": minor_axis_px / (2 * b),
    }
