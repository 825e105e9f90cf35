"""Five numbers for many."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Spread:
    """The extremes, the median and the 5th and 95th percentiles (linear between ranks) of a list of numbers."""

    minimum: float
    p5: float
    median: float
    p95: float
    maximum: float

    @classmethod
    def of(cls, values: Any) -> "Spread | None":
        """Those of an array or a list; None where there is nothing."""
        values = np.asarray(values, np.float64)
        return cls(*np.percentile(values, (0, 5, 50, 95, 100)).tolist()) if values.size else None
