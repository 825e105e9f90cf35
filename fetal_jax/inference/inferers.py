"""How a network looks at an image: as one square, or as overlapping patches of a volume. And back to native pixels.

A view has `n_inputs`, gives the network's `inputs()`, and takes as many answers `to_native`.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import numpy as np
from jaxtyping import Float, UInt8, UInt16

from fetal_jax.inference.apply import network_input
from input_pipeline.letterbox import Letterbox, unit_range
from input_pipeline.sliding_window import Shape, crop, stitch, tiles

OVERLAP = 0.5  # of neighbouring patches, in shares of a side


@dataclasses.dataclass(frozen=True)
class Square:
    """An image fitted into the network's square."""

    image: UInt8[np.ndarray, "h w c"]
    size: int
    blur: int
    intensity: str
    n_inputs = 1

    def inputs(self) -> Iterator[Float[np.ndarray, "size size c"]]:
        yield network_input(self.image, self.size, self.blur, self.intensity)

    def to_native(self, probs: Iterable[np.ndarray]) -> Float[np.ndarray, "h w c"]:
        (only,) = probs
        return Letterbox.fit(self.image.shape[:2], self.size).probs_to_native(only)


@dataclasses.dataclass(frozen=True)
class Tiles:
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


View = Square | Tiles
