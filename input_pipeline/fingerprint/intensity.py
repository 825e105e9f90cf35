"""Grey values of a dataset, counted one example at a time: exact, in the memory of one histogram per channel."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int64

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)


@dataclasses.dataclass(frozen=True)
class Intensity:
    """The values of one channel, pooled over all images, in the units of the records.

    `black` is the share of pixels that are 0: padding, no echo, no brain. The other numbers are of the pixels that
    are not, since in a volume nine of ten are black, and 0 where all are. `percentiles` maps each of PERCENTILES to
    the smallest value that so many per cent of the pixels do not exceed.
    """

    highest: int  # 255 or 65535
    mean: float
    sd: float
    percentiles: dict[str, int]
    black: float


def intensities(images: Iterable[np.ndarray]) -> tuple[Intensity, ...]:
    """One per channel of images uint8 [h w c] or volumes uint16 [d h w c], read one by one; () without images."""
    counts: list[np.ndarray] = []
    for image in images:
        channels = np.moveaxis(image, -1, 0)
        levels = np.iinfo(image.dtype).max + 1
        counts = counts or [np.zeros(levels, np.int64) for _ in channels]
        for count, channel in zip(counts, channels, strict=True):
            count += np.bincount(channel.ravel(), minlength=levels)
    return tuple(map(_of_histogram, counts))


def _of_histogram(counts: Int64[np.ndarray, " levels"]) -> Intensity:
    black, others = counts[0] / counts.sum(), np.where(np.arange(len(counts)) > 0, counts, 0)
    values, total = np.arange(len(counts), dtype=np.float64), max(1, others.sum())
    mean = (values * others).sum() / total
    variance = ((values - mean) ** 2 * others).sum() / total
    reached = np.cumsum(others)
    # In whole numbers: a percentile that falls on a rank exactly must not move by rounding.
    percentiles = {str(p): int(np.searchsorted(reached * 100, p * others.sum())) for p in PERCENTILES}
    return Intensity(len(counts) - 1, float(mean), float(np.sqrt(variance)), percentiles, float(black))
