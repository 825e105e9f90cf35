"""The augmented sample, whose arrays are transformed together, and transforms made of others: Chain, Chance, OneOf."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8


@dataclasses.dataclass(frozen=True, eq=False)
class Sample:
    """One image with its labels, weights and spacing, which a transform changes together.

    A transform never writes into these arrays; an array that it does not change is passed on.
    """

    image: UInt8[np.ndarray, "h w c"]  # 0 is padding or no echo
    labels: UInt8[np.ndarray, "h w"]  # class ids
    weights: Float32[np.ndarray, "h w"]  # of each pixel in the loss, 0 in the padding
    spacing_mm: Float32[np.ndarray, "2"]  # of a pixel: row, column; 0 is unknown


Transform = Callable[[Sample, np.random.Generator], Sample]


def check_bounds(transform: Any, **bounds: tuple[float, float]) -> None:
    """Raises ValueError naming the parameter of a transform that is outside its bounds, both of which are allowed."""
    for name, (low, high) in bounds.items():
        value = getattr(transform, name)
        if not low <= value <= high:
            raise ValueError(f"{name} is {value}: it must be {low:g} to {high:g}")


def check_choice(transform: Any, name: str, choices: Iterable[str]) -> None:
    """Raises ValueError if a parameter of a transform is not one of the choices."""
    value = getattr(transform, name)
    if value not in choices:
        raise ValueError(f"{name} is {value!r}: it must be {' or '.join(choices)}")


@dataclasses.dataclass(frozen=True)
class Chain:
    """One transform after the other; without any it is the identity."""

    steps: tuple[Transform, ...] = ()

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        for step in self.steps:
            sample = step(sample, rng)
        return sample


@dataclasses.dataclass(frozen=True)
class Chance:
    """The transform with probability `p`, else the identity."""

    p: float
    transform: Transform

    def __post_init__(self):
        check_bounds(self, p=(0, 1))

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return self.transform(sample, rng) if rng.random() < self.p else sample


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of the transforms, drawn uniformly; the others are not computed."""

    options: tuple[Transform, ...]

    def __post_init__(self):
        if not self.options:
            raise ValueError("there is nothing to choose from: name one transform or more")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        return self.options[rng.integers(len(self.options))](sample, rng)
