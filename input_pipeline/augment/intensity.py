"""Photometric transforms: blur, brightness, contrast, gamma, CLAHE, and the strong view of a consistency term.

Grey values change; pixels, labels and weights do not. Black stays black in all of them: it is padding, or no echo.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8

from input_pipeline.augment.compose import Sample, check_bounds

KERNELS = range(3, 32, 2)


@dataclasses.dataclass(frozen=True)
class MedianBlur:
    """The noise reduction of SS_CASE_UNet: the median over a square of `kernel` pixels."""

    kernel: int = 5

    def __post_init__(self):
        if self.kernel not in KERNELS:
            raise ValueError(f"kernel is {self.kernel}: it must be an odd number from {KERNELS[0]} to {KERNELS[-1]}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return dataclasses.replace(sample, image=median_blur(sample.image, self.kernel))


@dataclasses.dataclass(frozen=True)
class BrightnessContrast:
    """Contrast about the image's mean, then brightness, each times 1 - limit to 1 + limit (SS_CASE_UNet)."""

    limit: float = 0.2

    def __post_init__(self):
        check_bounds(self, limit=(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        brightness, contrast = (rng.uniform(1 - self.limit, 1 + self.limit) for _ in range(2))
        return dataclasses.replace(sample, image=adjust(sample.image, brightness=brightness, contrast=contrast))


@dataclasses.dataclass(frozen=True)
class GainOffset:
    """Grey values times 1 - gain to 1 + gain, plus -offset to offset of full white.

    What Albumentations calls RandomBrightnessContrast (`offset` the brightness, `gain` the contrast).
    """

    gain: float = 0.2
    offset: float = 0.2

    def __post_init__(self):
        check_bounds(self, gain=(0, 1), offset=(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        gain = 1 + rng.uniform(-self.gain, self.gain)
        offset = 255 * rng.uniform(-self.offset, self.offset)
        return dataclasses.replace(sample, image=look_up(sample.image, gain * LEVELS + offset))


@dataclasses.dataclass(frozen=True)
class Gamma:
    """Grey values in [0, 1] to the power of 1 - limit to 1 + limit; above 1 is darker."""

    limit: float = 0.2

    def __post_init__(self):
        check_bounds(self, limit=(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        exponent = 1 + rng.uniform(-self.limit, self.limit)
        return dataclasses.replace(sample, image=look_up(sample.image, 255 * (LEVELS / 255) ** exponent))


@dataclasses.dataclass(frozen=True)
class Clahe:
    """Contrast limited adaptive histogram equalisation of each channel.

    The clip limit is drawn from 1 to `clip_limit`, and the frame has `tiles` x `tiles` regions, as in Albumentations.
    Zuiderveld, "Contrast limited adaptive histogram equalization", Graphics Gems IV, 1994.
    """

    clip_limit: float = 4.0
    tiles: int = 8

    def __post_init__(self):
        check_bounds(self, clip_limit=(1, 100), tiles=(1, 64))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        equaliser = cv2.createCLAHE(rng.uniform(1, self.clip_limit), (self.tiles, self.tiles))
        channels = [equaliser.apply(channel) for channel in cv2.split(sample.image)]
        image = cv2.merge(channels).reshape(sample.image.shape)
        return dataclasses.replace(sample, image=np.where(sample.image == 0, np.uint8(0), image))


LEVELS = np.arange(256, dtype=np.float32)


@dataclasses.dataclass(frozen=True)
class Perturb:
    """The strong view of a consistency term (FixMatch, UniMatch): grey values change, pixels do not move.

    In this order: gamma, i.e. the gain curve of the machine, contrast about the mean and brightness, each drawn from
    its range; Gaussian blur of a sigma of 0 to `blur` pixels; additive Gaussian noise of an SD of 0 to `noise`. An
    image may also be float32 in [0, 1].
    """

    gamma: tuple[float, float] = (0.7, 1.5)
    contrast: tuple[float, float] = (0.6, 1.4)
    brightness: tuple[float, float] = (0.7, 1.3)
    blur: float = 1.2
    noise: float = 0.06

    def __post_init__(self):
        for name, least in (("gamma", 0.1), ("contrast", 0.0), ("brightness", 0.0)):
            low, high = getattr(self, name)
            if not least <= low <= high <= 10:
                raise ValueError(f"{name} is {(low, high)}: it must be a range (low, high) within {least:g} to 10")
        check_bounds(self, blur=(0, 20), noise=(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return dataclasses.replace(sample, image=self.view(sample.image, rng))

    def view(self, image: Shaped[np.ndarray, "h w c"], rng: np.random.Generator) -> Shaped[np.ndarray, "h w c"]:
        """The strong view of a uint8 image, or of a float32 one in [0, 1], in its own type."""
        full = 255 if image.dtype == np.uint8 else 1
        view = (image.astype(np.float32) / full) ** np.float32(rng.uniform(*self.gamma))
        mean = view.mean()
        contrast, brightness = np.float32(rng.uniform(*self.contrast)), np.float32(rng.uniform(*self.brightness))
        view = brightness * (mean + contrast * (view - mean))
        sigma = max(rng.uniform(0, self.blur), 0.1)  # OpenCV refuses 0; 0.1 changes nothing
        view = cv2.GaussianBlur(view, (0, 0), sigma).reshape(image.shape)
        view += np.float32(rng.uniform(0, self.noise)) * rng.standard_normal(image.shape, dtype=np.float32)
        view = np.where(image == 0, 0, np.clip(view, 0, 1)) * np.float32(full)
        return np.rint(view).astype(np.uint8) if full == 255 else view


def look_up(image: UInt8[np.ndarray, "h w c"], levels: Float[np.ndarray, "256"]) -> UInt8[np.ndarray, "h w c"]:
    """Every grey value replaced by that of the table, rounded and clipped to 0..255; black stays black."""
    table = np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
    table[0] = 0
    return cv2.LUT(image, table).reshape(image.shape)


def median_blur(image: UInt8[np.ndarray, "h w c"], kernel: int = 5) -> UInt8[np.ndarray, "h w c"]:
    """The median over a square of `kernel` pixels, of each channel."""
    return cv2.medianBlur(image, kernel).reshape(image.shape)


def adjust(image: UInt8[np.ndarray, "h w c"], *, brightness: float, contrast: float) -> UInt8[np.ndarray, "h w c"]:
    """Scale the contrast about the mean, then the brightness. Black stays black."""
    mean = float(image.mean())
    return look_up(image, brightness * (mean + contrast * (LEVELS - mean)))


def perturb(image: Shaped[np.ndarray, "h w c"], rng: np.random.Generator) -> Shaped[np.ndarray, "h w c"]:
    """The strong view of an image by `Perturb` with its defaults."""
    return Perturb().view(image, rng)


def perturb_volume(patch: Float[np.ndarray, "d h w c"], rng: np.random.Generator) -> Float[np.ndarray, "d h w c"]:
    """The strong view of a patch of a volume in [0, 1], float32: grey values change, each channel by itself.

    Gamma (0.7 to 1.5), contrast about the mean (0.6 to 1.4), brightness (0.7 to 1.3) and additive Gaussian noise
    (SD 0 to 0.06), as `perturb`; no blur, which would cross the slices. Black stays black.
    """
    channels = patch.shape[-1]
    view = patch.astype(np.float32) ** np.float32(rng.uniform(0.7, 1.5, channels))
    mean = view.mean((0, 1, 2))
    contrast, brightness = (np.float32(rng.uniform(1 - d, 1 + d, channels)) for d in (0.4, 0.3))
    view = brightness * (mean + contrast * (view - mean))
    view += np.float32(rng.uniform(0, 0.06)) * rng.standard_normal(patch.shape, dtype=np.float32)
    return np.where(patch == 0, np.float32(0), np.clip(view, 0, 1))
