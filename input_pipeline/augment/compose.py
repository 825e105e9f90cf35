"""What augmentation is made of: a sample whose arrays move together, and ways to put transforms together."""

import dataclasses
from collections.abc import Callable

import numpy as np
from jaxtyping import Float32, UInt8


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One image and all that must move with it.

    A transform never writes into these arrays; what it does not change it hands on as it is.
    """

    image: UInt8[np.ndarray, "h w c"]  # 0 is padding or no echo
    labels: UInt8[np.ndarray, "h w"]  # class ids
    weights: Float32[np.ndarray, "h w"]  # trust in the label, 0 in the padding
    spacing_mm: Float32[np.ndarray, "2"]  # of a pixel: row, column; 0 is unknown


Transform = Callable[[Sample, np.random.Generator], Sample]


@dataclasses.dataclass(frozen=True)
class Chain:
    """One transform after the other; of none it is the identity."""

    steps: tuple[Transform, ...] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for step in self.steps:
            sample = step(sample, rng)
        return sample


@dataclasses.dataclass(frozen=True)
class Chance:
    """The transform with probability `p`, else the sample as it is."""

    p: float
    transform: Transform

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return self.transform(sample, rng) if rng.random() < self.p else sample


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of the transforms, drawn uniformly; the others are never computed."""

    options: tuple[Transform, ...]

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return self.options[rng.integers(len(self.options))](sample, rng)
