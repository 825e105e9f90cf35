"""What a prepared dataset holds: data only."""

import dataclasses
import json

from input_pipeline.fingerprint.intensity import Intensity
from input_pipeline.fingerprint.spread import Spread


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
    of_square: Spread | None  # share of the square (cube) on the longest side: what of a network's input it fills


@dataclasses.dataclass(frozen=True)
class Description:
    """Everything that `describe` found. `classes[0]` is the background."""

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
    images_a_subject: Spread
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
    def noun(self) -> str:
        """What to call the examples."""
        return "images" if self.dims == 2 else "volumes"

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False) + "\n"

    def lines(self) -> list[str]:
        """A summary for a terminal."""
        from input_pipeline.fingerprint import summary  # which is written in terms of this class

        return summary.lines(self)
