"""Corruptions of images: seven kinds at five strengths each.

They act on native 8-bit grey values. Black stays black: it is padding, or no echo at all. Nothing random is stored:
each image draws its noise from its own name, the corruption and the strength.
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import Shaped

from input_pipeline.augment.compose import Sample
from input_pipeline.augment.fan import find_fan
from input_pipeline.augment.geometry import similarity, warp
from input_pipeline.augment.intensity import LEVELS, adjust, look_up
from input_pipeline.augment.ultrasound import Speckle
from input_pipeline.dataset import Record

DARKNESS = 0.95  # of a shadow: what it takes away
SOFT_EDGE = 0.1  # of a shadow's breadth

Change = Callable[[Sample, float, np.random.Generator], Sample]


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A change of images and five strengths of it, from weak to strong."""

    change: Change
    unit: str  # of the strengths
    strengths: tuple[float, ...]


def corrupt(record: Record, name: str, strength: float) -> Record:
    """The image, and its labels where they move with it, under one of CORRUPTIONS.

    The record is of an image, uint8 [h w c] with labels uint8 [h w]; it stays as it is.
    """
    rng = np.random.default_rng([zlib.crc32(text.encode()) for text in (record.name, name, f"{strength:g}")])
    weights = np.ones(record.labels.shape, np.float32)
    sample = Sample(record.image, record.labels, weights, np.asarray(record.spacing_mm, np.float32))
    changed = CORRUPTIONS[name].change(sample, strength, rng)
    return dataclasses.replace(record, image=changed.image, labels=changed.labels)


def corrupt_all(records: Iterable[Record], name: str, strength: float) -> Iterator[Record]:
    """Each record in turn: see `corrupt`."""
    return (corrupt(record, name, strength) for record in records)


def gaussian_noise(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """Independent normal noise of this SD is added to every grey value."""
    noise = rng.standard_normal(sample.image.shape, dtype=np.float32)
    return _seen(sample, sample.image + np.float32(strength) * noise)


def speckle(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """Grey values times correlated Rayleigh noise of mean 1, of which a share of `strength` is mixed in."""
    field = Speckle().field(sample.labels.shape, rng)
    return _seen(sample, sample.image * (1 + np.float32(strength) * (field - 1))[..., None])


def blur(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """A Gaussian whose SD is this percentage of the shorter side."""
    sigma = strength / 100 * min(sample.labels.shape)
    return _seen(sample, cv2.GaussianBlur(sample.image, (0, 0), sigma).reshape(sample.image.shape))


def contrast(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """The distance of grey values from the image's mean is multiplied."""
    return dataclasses.replace(sample, image=adjust(sample.image, brightness=1.0, contrast=strength))


def gain(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """Grey values are multiplied, and saturate."""
    return dataclasses.replace(sample, image=look_up(sample.image, np.float32(strength) * LEVELS))


def shadow(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """A dark sector from the probe downwards, over the structures, as broad as this share of theirs.

    Its centre is drawn from the middle half of them. Without a structure it lies anywhere, as if one filled the image.
    """
    across, _ = find_fan(sample.image).polar()
    places = across[sample.labels > 0]
    left, right = np.quantile(places, (0.01, 0.99)) if places.size else (0.0, 1.0)
    centre = rng.uniform(0.75 * left + 0.25 * right, 0.25 * left + 0.75 * right)
    half = max(strength * (right - left) / 2, 1e-6)
    inside = np.clip((half - np.abs(across - np.float32(centre))) / (2 * half * SOFT_EDGE) + 0.5, 0, 1)
    return _seen(sample, sample.image * (1 - DARKNESS * inside.astype(np.float32))[..., None])


def rotation(sample: Sample, strength: float, rng: np.random.Generator) -> Sample:
    """Image and labels are turned about the centre of the frame, by so much to either side.

    What turns out of the frame is gone from both. What turns into it is black and background.
    """
    height, width = sample.labels.shape
    angle = strength * rng.choice([-1, 1])
    centre = (width - 1) / 2, (height - 1) / 2
    return warp(sample, similarity(centre, degrees=float(angle), spacing_mm=sample.spacing_mm))


def _seen(sample: Sample, grey: Shaped[np.ndarray, "h w c"]) -> Sample:
    """The sample with these grey values, rounded and clipped; black stays black."""
    image = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return dataclasses.replace(sample, image=np.where(sample.image == 0, np.uint8(0), image))


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian noise": Corruption(gaussian_noise, "grey levels (SD)", (10.0, 20.0, 40.0, 60.0, 80.0)),
    "speckle": Corruption(speckle, "share of Rayleigh noise", (0.2, 0.4, 0.6, 0.8, 1.0)),
    "blur": Corruption(blur, "% of the shorter side (SD)", (0.5, 1.0, 1.5, 2.0, 3.0)),
    "contrast": Corruption(contrast, "of the contrast", (0.9, 0.7, 0.5, 0.35, 0.2)),
    "gain": Corruption(gain, "times the grey value", (1.25, 1.5, 2.0, 2.5, 3.0)),
    "shadow": Corruption(shadow, "of the structures' breadth", (0.1, 0.2, 0.3, 0.45, 0.6)),
    "rotation": Corruption(rotation, "degrees", (5.0, 15.0, 25.0, 35.0, 45.0)),
}
