"""Random pairs of masks to compare surface metrics on: integers of a frozen stream (NEP 19), the same anywhere."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

PAIRS = 1000
FRAMES = ((40, 56), (64, 48), (24, 20, 28))  # the last is a volume


class Pair(NamedTuple):
    prediction: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, ...]


def pairs() -> Iterator[Pair]:
    """Blobs with holes, in pieces, cut by the frame, alike and unlike; every 25th lacks one of its masks or both."""
    for number in range(PAIRS):
        rng = np.random.RandomState(number)
        shape = FRAMES[number % len(FRAMES)]
        labels = _blobs(rng, shape)
        prediction = _blobs(rng, shape) if number % 4 == 0 else _near(rng, labels)
        if number % 25 == 0:
            prediction &= number % 75 == 25
            labels &= number % 75 == 50
        spacing = tuple(0.1 + rng.randint(0, 10**6, len(shape)) / 10**6)
        yield Pair(prediction, labels, spacing if number % 3 else spacing[:1] * len(shape))


def nested_boxes() -> Iterator[Pair]:
    """Boxes inside boxes; the first half lies equally deep on all sides."""
    for number in range(100):
        rng = np.random.RandomState(number)
        shape = FRAMES[number % len(FRAMES)]
        outer, inner = np.zeros(shape, bool), np.zeros(shape, bool)
        gaps = np.full((len(shape), 2), rng.randint(1, 5)) if number < 50 else rng.randint(0, 6, (len(shape), 2))
        starts, sides = rng.randint(0, 5, len(shape)), rng.randint(1, 9, len(shape))
        inside = starts + gaps[:, 0]
        inner[tuple(slice(a, a + n) for a, n in zip(inside, sides, strict=True))] = True
        outer[tuple(slice(a, b) for a, b in zip(starts, inside + sides + gaps[:, 1], strict=True))] = True
        spacing = tuple(0.1 + rng.randint(0, 10**6, len(shape)) / 10**6)
        yield Pair(inner, outer, spacing[:1] * len(shape) if number < 50 else spacing)


def _blobs(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """One to four ellipses, the last of several taken away from the others."""
    found = _ellipse(rng, shape)
    for last in reversed(range(rng.randint(0, 4))):
        other = _ellipse(rng, shape)
        found = found | other if last else found & ~other
    return found


def _ellipse(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Its centre may lie close to the frame, its half-axes span up to two fifths of it."""
    total = np.zeros(shape, np.int64)
    halves = rng.randint(1, [2 + 2 * n // 5 for n in shape])
    scale = int(np.prod(halves)) ** 2
    for axis, (grid, half) in enumerate(zip(np.indices(shape), halves, strict=True)):
        total += (grid - rng.randint(0, shape[axis])) ** 2 * (scale // int(half) ** 2)
    return total <= scale


def _near(rng: np.random.RandomState, labels: np.ndarray) -> np.ndarray:
    """Moved by up to two pixels, a blob more and a few pixels turned over."""
    shift = rng.randint(-2, 3, labels.ndim)
    found = np.roll(labels, tuple(shift), tuple(range(labels.ndim)))
    if rng.randint(0, 2):
        found = found | _ellipse(rng, labels.shape) & (rng.randint(0, 3, labels.shape) > 0)
    return found ^ (rng.randint(0, 200, labels.shape) == 0)
