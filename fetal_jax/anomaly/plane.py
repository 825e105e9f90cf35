"""NormativeModel model of one imaging plane: which structures it shows, and their expected features."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fetal_jax.anomaly import expectation
from fetal_jax.anomaly.expectation import Expectation

FEWEST = 8  # images to expect anything of a feature
SEEN = ".seen"

Vector = Mapping[str, float]  # of features.vector


@dataclasses.dataclass(frozen=True)
class Plane:
    """Fitted to normal images of one plane."""

    expected: dict[str, Expectation]  # by feature
    seen: dict[str, tuple[int, int]]  # by structure: normal images that show it, of how many

    @classmethod
    def fit(cls, vectors: Sequence[Vector], t: Sequence[float], subjects: Sequence[str], *, ignore: str) -> "Plane":
        """From vectors and their scaled ages; nothing is expected of the feature `ignore`, or of one rarely defined."""
        seen, expected = {}, {}
        for name in sorted({name for vector in vectors for name in vector} - {ignore}):
            values = np.array([vector.get(name, math.nan) for vector in vectors], float)
            known = np.isfinite(values) & np.isfinite(t)
            if name.endswith(SEEN):
                seen[name.removesuffix(SEEN)] = (int(values[known].sum()), int(known.sum()))
            elif known.sum() >= max(FEWEST, len(vectors) / 2) and _usual(name, vectors):
                n_subjects = len(set(np.array(subjects)[known]))
                expected[name] = expectation.fit(values[known], np.array(t)[known], n_subjects)
        return cls(expected, seen)

    def deviations(self, vector: Vector, t: float) -> dict[str, float]:
        """SDs from what is expected, by feature; NaN where undefined. A structure seen or not is one, `NAME.seen`."""
        z = {name: expected.z(vector.get(name, math.nan), t) for name, expected in self.expected.items()}
        for name, counts in self.seen.items():
            shown = vector.get(name + SEEN, math.nan)
            z[name + SEEN] = shown if math.isnan(shown) else expectation.surprise(*counts, bool(shown))
        return z

    def likelihood(self, vector: Vector) -> float:
        """Log-probability of which structures an image shows, were it of this plane."""
        chances = {name: (k + 1) / (n + 2) for name, (k, n) in self.seen.items()}
        return sum(math.log(p if vector.get(name + SEEN) else 1 - p) for name, p in chances.items())

    def with_errors(self, pairs: Sequence[tuple[Vector, Vector]]) -> "Plane":
        """The same, measured with the errors of these pairs (reference, predicted)."""
        expected = {}
        for name, normal in self.expected.items():
            known = np.array([after.get(name, math.nan) - before.get(name, math.nan) for before, after in pairs])
            known = known[np.isfinite(known)]
            expected[name] = normal if len(known) < FEWEST else normal.with_error(*expectation.robust(known))
        return dataclasses.replace(self, expected=expected)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Plane":
        expected = {name: Expectation.from_dict(e) for name, e in values["expected"].items()}
        return cls(expected, {name: tuple(counts) for name, counts in values["seen"].items()})


def _usual(feature: str, vectors: Sequence[Vector]) -> bool:
    """Whether the structure of a feature is seen in most of these images: the size of one never seen says nothing."""
    flag = feature.split(".")[0] + SEEN
    return sum(vector.get(flag, 1.0) for vector in vectors) > len(vectors) / 2
