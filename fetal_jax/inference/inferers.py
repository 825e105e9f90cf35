"""Inferers: how an image or a volume is fed to a network, and how its output comes back to native pixels.

An inferer has `n_inputs`, gives the network's `inputs()`, and maps as many outputs `to_native`.
"""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from fetal_jax.inference.apply import network_input
from input_pipeline.letterbox import Letterbox, unit_range
from input_pipeline.sliding_window import Shape, crop, stitch, tiles

OVERLAP = 0.5  # of neighbouring patches, as a share of a side


@runtime_checkable
class Inferer(Protocol):
    """The inputs of one image, and the way back."""

    @property
    def n_inputs(self) -> int: ...

    def inputs(self) -> Iterator[np.ndarray]: ...

    def to_native(self, probs: Iterable[np.ndarray]) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class SimpleInferer:
    """An image fitted into the network's square: one input."""

    image: UInt8[np.ndarray, "h w c"]
    size: int
    blur: int
    intensity: str

    @property
    def n_inputs(self) -> int:
        return 1

    def inputs(self) -> Iterator[Float[np.ndarray, "size size c"]]:
        yield network_input(self.image, self.size, self.blur, self.intensity)

    def to_native(self, probs: Iterable[np.ndarray]) -> Float[np.ndarray, "h w c"]:
        (only,) = probs
        return Letterbox.fit(self.image.shape[:2], self.size).probs_to_native(only)


@dataclasses.dataclass(frozen=True)
class SlidingWindowInferer:
    """A volume as cubic patches of `size` voxels a side that overlap by half; a voxel is the average of its patches."""

    volume: UInt16[np.ndarray, "d h w c"]
    size: int

    @property
    def n_inputs(self) -> int:
        return len(self._starts())

    def inputs(self) -> Iterator[Float[np.ndarray, "size size size c"]]:
        for start in self._starts():
            yield unit_range(crop(self.volume, start, self._patch()))

    def to_native(self, probs: Iterable[np.ndarray]) -> Float[np.ndarray, "d h w c"]:
        return stitch(probs, self._starts(), self.volume.shape[:3])

    def _patch(self) -> Shape:
        return (self.size,) * 3

    def _starts(self) -> list[Shape]:
        return tiles(self.volume.shape[:3], self._patch(), OVERLAP)


def make_inferer(image: np.ndarray, *, dims: int, size: int, blur: int, intensity: str) -> Inferer:
    """The inferer of an image [h w c] or a volume [d h w c]: the one place where prediction tells them apart."""
    if dims == 3:
        return SlidingWindowInferer(image, size)
    return SimpleInferer(image, size, blur, intensity)
