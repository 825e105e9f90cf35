"""Checks of single images: implausible masks and pixel sizes."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float, Integer
from scipy import ndimage

TINY_FRACTION, TINY_PIXELS = 1e-4, 5  # of the image; of a structure
PIECES, TIMES_USUAL = 4, 3  # more connected components than so many, and than so many times the dataset's median
ODD_Z = 5.0  # robust z-score of an outlier
LEAST_SPREAD = 0.05  # of logarithms: where nearly all are equal, 5 % more does not make an outlier
ENOUGH = 10  # least number of values for a median and a spread
ANISOTROPY = 0.05
FRAME = 2  # px; an outline drawn along the frame leaves the outermost pixels to the background


@dataclasses.dataclass(frozen=True)
class Finding:
    """A finding about one image."""

    kind: str  # one of KINDS
    name: str
    subject: str
    structure: str  # name of a class; "" where the finding is about the whole image
    value: float  # what was measured; see KINDS


KINDS = {
    "empty": "a labelled image without any foreground",
    "tiny": "a structure below 1e-4 of the image or 5 px; value: px",
    "out of frame": "a structure within the outermost 2 px of an image; value: its px there",
    "many pieces": "over 4 connected components, and over 3 times the structure's median; value: components",
    "unknown id": "labels beyond the classes; value: the largest id",
    "size outlier": "log of a structure's share of the image is far from the others'; value: robust z",
    "unknown spacing": "no pixel size",
    "anisotropic spacing": "pixel sizes that differ by more than 5 %; value: largest / smallest",
    "spacing outlier": "log of the pixel size is far from the others'; value: robust z",
}


@dataclasses.dataclass(frozen=True)
class Structure:
    """Measures of a structure in one image."""

    pixels: int
    fraction: float  # of the image
    on_frame: int  # pixels in the outermost rows, columns and slices
    components: int  # connected components, of 8 neighbours, in three dimensions 26


@dataclasses.dataclass(frozen=True)
class Measures:
    """The measures of one image that the checks need."""

    name: str
    subject: str
    labelled: bool
    structures: dict[int, Structure]  # by class id; only those in the image
    spacing_mm: tuple[float, ...]


def measure(record) -> Measures:
    """The measures of a record of a dataset; an unlabelled one has only its pixel size."""
    structures = measure_structures(record.labels) if record.labelled else {}
    spacing = tuple(float(value) for value in np.ravel(record.spacing_mm))
    return Measures(record.name, record.subject, bool(record.labelled), structures, spacing)


def measure_structures(labels: Integer[np.ndarray, "..."]) -> dict[int, Structure]:
    """Measures of every foreground class of a label map, of two or three dimensions, by class id."""
    found = {}
    for class_id, box in enumerate(ndimage.find_objects(labels), 1):
        if box is not None:
            mask = labels == class_id
            inside = mask[(slice(FRAME, -FRAME),) * mask.ndim]
            pixels = int(mask.sum())
            _, components = ndimage.label(mask[box], np.ones((3,) * mask.ndim))
            found[class_id] = Structure(pixels, pixels / mask.size, pixels - int(inside.sum()), int(components))
    return found


def check_masks(measures: Sequence[Measures], classes: Sequence[str]) -> tuple[Finding, ...]:
    """The findings in the masks of the labelled images, sorted by kind and name."""
    findings = []
    for image in measures:
        if image.labelled and not image.structures:
            findings.append(Finding("empty", image.name, image.subject, "", 0.0))
        beyond = [class_id for class_id in image.structures if class_id >= len(classes)]
        if beyond:
            findings.append(Finding("unknown id", image.name, image.subject, "", float(max(beyond))))
    for class_id in range(1, len(classes)):
        shown = [image for image in measures if class_id in image.structures]
        findings += _check_structure(shown, class_id, classes[class_id])
    return _sorted(findings)


def _check_structure(images: Sequence[Measures], class_id: int, structure: str) -> Iterable[Finding]:
    of = [image.structures[class_id] for image in images]
    odd = robust_z(np.log([s.fraction for s in of]))
    usual = float(np.median([s.components for s in of])) if of else 0.0
    for image, s, z in zip(images, of, odd, strict=True):
        values: dict[str, float] = {}
        if s.pixels < TINY_PIXELS or s.fraction < TINY_FRACTION:
            values["tiny"] = s.pixels
        if s.on_frame:
            values["out of frame"] = s.on_frame
        if s.components > max(PIECES, TIMES_USUAL * usual):
            values["many pieces"] = s.components
        if abs(z) > ODD_Z:
            values["size outlier"] = round(float(z), 2)
        for kind, value in values.items():
            yield Finding(kind, image.name, image.subject, structure, float(value))


def check_spacing(measures: Sequence[Measures]) -> tuple[Finding, ...]:
    """The findings in the pixel sizes, sorted by kind and name."""
    findings, known = [], []
    for image in measures:
        if min(image.spacing_mm) <= 0:
            findings.append(Finding("unknown spacing", image.name, image.subject, "", 0.0))
            continue
        known.append(image)
        ratio = max(image.spacing_mm) / min(image.spacing_mm)
        if ratio > 1 + ANISOTROPY:
            findings.append(Finding("anisotropic spacing", image.name, image.subject, "", round(ratio, 3)))
    for image, z in zip(known, robust_z([np.log(image.spacing_mm).mean() for image in known]), strict=True):
        if abs(z) > ODD_Z:
            findings.append(Finding("spacing outlier", image.name, image.subject, "", round(float(z), 2)))
    return _sorted(findings)


def absent_classes(measures: Sequence[Measures], classes: Sequence[str]) -> tuple[str, ...]:
    """Foreground classes that no labelled image shows; none if nothing is labelled."""
    if not any(image.labelled for image in measures):
        return ()
    shown = {class_id for image in measures for class_id in image.structures}
    return tuple(name for class_id, name in enumerate(classes) if class_id and class_id not in shown)


def robust_z(values: Sequence[float] | Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Distances from the median in units of 1.4826 × the median absolute deviation, of logarithms.

    The unit is LEAST_SPREAD at least; with fewer than ENOUGH values all distances are 0.
    """
    values = np.asarray(values, np.float64)
    if len(values) < ENOUGH:
        return np.zeros(len(values))
    distance = values - np.median(values)
    return distance / max(1.4826 * float(np.median(np.abs(distance))), LEAST_SPREAD)


def _sorted(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    order = list(KINDS)
    return tuple(sorted(findings, key=lambda f: (order.index(f.kind), f.name, f.structure)))
