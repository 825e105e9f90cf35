"""Ultrasound effects: speckle, shadow, gain curve, depth attenuation, rotation about the probe.

Off by default: nothing shows yet that they help a network. Every effect has a strength; at 0 it is the identity. They
act on displayed grey values, after log compression, so they imitate an effect and do not simulate it. Black stays
black. Rays and depth are those of the fan where the image has one, else they run straight down the frame; see `fan.py`.
"""

import dataclasses

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from input_pipeline.augment.compose import Sample, check_bounds
from input_pipeline.augment.fan import Fan, find_fan
from input_pipeline.augment.geometry import similarity, warp, warp_array


@dataclasses.dataclass(frozen=True)
class Speckle:
    """Grey values times correlated Rayleigh noise of mean 1: the envelope of a complex Gaussian field.

    `strength`, up to 1, bounds how much of the noise is mixed in, drawn from 0; `axial` and `lateral` are the standard
    deviations of the point spread function in pixels. Wagner et al., "Statistics of speckle in ultrasound B-scans",
    IEEE Trans. Sonics Ultrason. 1983;30:156-163.
    """

    strength: float = 0.5
    axial: float = 0.8
    lateral: float = 1.6

    def __post_init__(self):
        check_bounds(self, strength=(0, 1), axial=(0.1, 50), lateral=(0.1, 50))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        noise = self.field(sample.labels.shape, rng)
        return _times(sample, 1 + np.float32(rng.uniform(0, self.strength)) * (noise - 1))

    def field(self, shape: tuple[int, int], rng: np.random.Generator) -> Float32[np.ndarray, "h w"]:
        """The noise: its values are Rayleigh distributed and their mean is 1."""
        white = rng.standard_normal((*shape, 2), dtype=np.float32)
        field = cv2.GaussianBlur(white, (0, 0), sigmaX=self.lateral, sigmaY=self.axial, borderType=cv2.BORDER_REFLECT)
        envelope = np.hypot(field[..., 0], field[..., 1])
        return envelope / max(envelope.mean(), np.float32(1e-6))


@dataclasses.dataclass(frozen=True)
class Shadow:
    """An acoustic shadow: a dark beam with soft edges, from some depth downwards.

    It removes half of `strength` to all of it, up to 1; its breadth is 0.3 to 1 of `width`, a fraction of the fan's
    opening; it starts in the upper half.
    """

    strength: float = 0.8
    width: float = 0.2

    def __post_init__(self):
        check_bounds(self, strength=(0, 1), width=(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        darkness = np.float32(self.strength * rng.uniform(0.5, 1))
        centre, start = rng.uniform(0, 1), rng.uniform(0, 0.5)
        half = self.width * rng.uniform(0.3, 1) / 2
        across, depth = find_fan(sample.image).polar()
        off_centre = np.square((across - np.float32(centre)) / np.float32(max(half, 1e-6)))
        beam = np.exp(-np.square(off_centre))
        below = np.clip((depth - np.float32(start)) * 20, 0, 1)
        return _times(sample, 1 - darkness * beam * below)


@dataclasses.dataclass(frozen=True)
class GainCurve:
    """Time gain compensation: grey values times exp(-strength) to exp(strength), by depth.

    There are `sliders` from the probe to the largest depth, each drawn independently, linear in between.
    """

    strength: float = 0.3
    sliders: int = 6

    def __post_init__(self):
        check_bounds(self, strength=(0, 5), sliders=(1, 64))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        gains = rng.uniform(-self.strength, self.strength, self.sliders)
        _, depth = find_fan(sample.image).polar()
        at = np.linspace(0, 1, self.sliders)
        return _times(sample, np.exp(np.interp(depth, at, gains).astype(np.float32)))


@dataclasses.dataclass(frozen=True)
class DepthAttenuation:
    """Grey values times exp(-rate x depth): deeper is darker. The rate is drawn from 0 to `strength`."""

    strength: float = 1.0

    def __post_init__(self):
        check_bounds(self, strength=(0, 10))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        rate = np.float32(rng.uniform(0, self.strength))
        _, depth = find_fan(sample.image).polar()
        return _times(sample, np.exp(-rate * np.clip(depth, 0, 1)))


@dataclasses.dataclass(frozen=True)
class FanRotation:
    """Rotates the tissue about the probe by up to `degrees` either way, inside the fan.

    A fan of a small opening, whose apex is far away, is rotated by at most a fifth of the opening. Tissue that leaves
    the fan is cut off, and the wedge into which nothing is rotated is black, as where a probe loses contact: both
    become image 0, label 0, weight 0. What lies outside the fan (text, marks, padding) is unchanged. Without a fan the
    whole sample is rotated about the centre of the frame.
    """

    degrees: float = 10.0

    def __post_init__(self):
        check_bounds(self, degrees=(0, 180))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        height, width = sample.labels.shape
        fan = find_fan(sample.image)
        bound = min(self.degrees, fan.opening / 5) if fan.found else self.degrees
        angle = rng.uniform(-bound, bound)
        pivot = fan.apex if fan.found else ((width - 1) / 2, (height - 1) / 2)
        matrix = similarity(pivot, degrees=angle, spacing_mm=sample.spacing_mm)
        turned = warp(sample, matrix)
        return _within_fan(sample, turned, fan, matrix) if fan.found and angle else turned


def _within_fan(sample: Sample, turned: Sample, fan: Fan, matrix: np.ndarray) -> Sample:
    arrived = warp_array(fan.mask.astype(np.uint8), matrix, cv2.INTER_NEAREST) > 0
    shown, unknown = fan.mask & arrived, fan.mask != arrived
    image = np.where(shown[..., None], turned.image, sample.image)
    image[unknown] = 0
    trusted = np.minimum(sample.weights, turned.weights)
    return dataclasses.replace(
        turned,
        image=image,
        labels=np.where(unknown, np.uint8(0), turned.labels),
        weights=np.where(shown, turned.weights, np.where(unknown, np.float32(0), trusted)),
    )


def _times(sample: Sample, factor: Float32[np.ndarray, "h w"]) -> Sample:
    return dataclasses.replace(sample, image=_scaled(sample.image, factor))


def _scaled(image: UInt8[np.ndarray, "h w c"], factor: Float32[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w c"]:
    return np.clip(np.rint(image * factor[..., None]), 0, 255).astype(np.uint8)
