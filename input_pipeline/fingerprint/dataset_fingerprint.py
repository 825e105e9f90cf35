"""The fingerprint of a prepared dataset: data only."""

import dataclasses
from typing import Any

import numpy as np

from fetal_jax.core.json_files import to_text
from input_pipeline.fingerprint.intensity import Intensity

FORMAT = 1  # of description.json


@dataclasses.dataclass(frozen=True)
class Spread:
    """Minimum, median, maximum, 5th and 95th percentile (linear between ranks) of a list of numbers."""

    minimum: float
    p5: float
    median: float
    p95: float
    maximum: float

    @classmethod
    def of(cls, values: Any) -> "Spread":
        """Of an array or a list with at least one number."""
        return cls(*np.percentile(np.asarray(values, np.float64), (0, 5, 50, 95, 100)).tolist())

    @classmethod
    def of_any(cls, values: Any) -> "Spread | None":
        """As `of`; None where there is no number."""
        return cls.of(values) if np.size(values) else None


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Native sizes in pixels, by axis in the order of the arrays (rows, columns; slices first in a volume)."""

    axes: tuple[Spread, ...]
    longest: Spread  # of each image's longest side
    commonest: tuple[int, ...]
    n_commonest: int
    n_distinct: int


@dataclasses.dataclass(frozen=True)
class Spacings:
    """Sizes of a pixel by axis, of the images whose spacing is known; None where there is none."""

    n_known: int
    axes_mm: tuple[Spread, ...] | None
    anisotropy: Spread | None  # longest over shortest side of a pixel


@dataclasses.dataclass(frozen=True)
class Class:
    """A class of the labels. Extents are those in one image, over the labelled images that show the class."""

    name: str
    pixels: int  # in all labelled images
    share: float | None  # of all their pixels; None where nothing is labelled
    n_images: int  # labelled images that show it
    n_subjects: int  # of these images
    presence: float | None  # their share of the labelled images
    extent_px: Spread | None  # pixels of an image, voxels of a volume
    extent_mm: Spread | None  # mm² of an image, mm³ of a volume; where the spacing is known
    of_square: Spread | None  # share of the square (cube) on the longest side: of a network's input that it fills


@dataclasses.dataclass(frozen=True)
class Words:
    """The words for a dataset of images or of volumes."""

    unit: str  # an example, in the plural
    axes: tuple[str, ...]  # in the order of the arrays
    pixel: str
    even: str  # where a pixel is as long as it is wide
    extent: str  # the unit of an extent in mm


WORDS = {
    2: Words("images", ("rows", "columns"), "px", "square pixels", "mm²"),
    3: Words("volumes", ("slices", "rows", "columns"), "voxels", "cubic voxels", "mm³"),
}


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Counts, sizes, spacings, classes and grey values of a dataset. `classes[0]` is the background."""

    dataset: str
    version: str
    title: str
    subject_rule: str
    dims: int
    n_images: int
    n_labelled: int
    n_empty: int  # labelled images without a pixel of any structure
    n_subjects: int
    n_labelled_subjects: int  # with a labelled image at least
    n_pool: int  # images of subjects without any labelled image
    images_a_subject: Spread  # images of one subject; the name is also the key in description.json
    labelled_a_subject: Spread | None  # over subjects with a labelled image
    groups: dict[str, int]  # images by group, {} where there are none
    sizes: Sizes
    spacing: Spacings
    classes: tuple[Class, ...]
    n_sampled: int  # images that the intensities are of
    intensity: tuple[Intensity, ...]  # by channel
    notes: tuple[str, ...]  # of the dataset's preparation
    warnings: tuple[str, ...] = ()

    @property
    def structures(self) -> tuple[Class, ...]:
        """The foreground classes that a labelled image shows."""
        return tuple(each for each in self.classes[1:] if each.n_images)

    @property
    def words(self) -> "Words":
        """The words for its examples, axes and pixels."""
        return WORDS[self.dims]

    def to_json(self) -> str:
        """The text of description.json."""
        return to_text(dataclasses.asdict(self), format=FORMAT)

    def lines(self) -> list[str]:
        """A summary for a terminal."""
        from input_pipeline.fingerprint import summary  # which is written in terms of this class

        return summary.lines(self)
