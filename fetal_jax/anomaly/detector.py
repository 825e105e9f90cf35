"""The anomaly detector of a network: an out-of-distribution detector and a normative model, in one file."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fetal_jax.anomaly.features import describe
from fetal_jax.anomaly.normative import AnomalyScore, NormativeModel, not_scored
from fetal_jax.anomaly.ood import OODDetector, image_statistics
from fetal_jax.core.json_files import read_json, write_json
from fetal_jax.core.types import UserError

FORMAT = 1  # of its file


@dataclasses.dataclass(frozen=True)
class Detector:
    """Scores one image from the prediction of a network; no reference is needed."""

    classes: tuple[str, ...]  # of the network, by id, the background first
    ood: OODDetector
    normative: NormativeModel

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w"],
        probs: Float[np.ndarray, "h w classes"],
        spacing_mm: Sequence[float] | Float[np.ndarray, "2"] | None = None,
        *,
        age: float | None = None,
        plane: str | None = None,
    ) -> AnomalyScore:
        """The anomaly score of an image and its probabilities; NaN, with the reason, for one out of distribution."""
        vector = describe(probs.argmax(-1), self.classes, spacing_mm)
        return self.score(image_statistics(image, probs), vector, age=age, plane=plane)

    def score(
        self, statistics: Mapping[str, float], vector: Mapping[str, float], *, age: float | None, plane: str | None
    ) -> AnomalyScore:
        """The same, of numbers that are known already: those of `ood.image_statistics` and of `features.describe`."""
        verdict = self.ood(statistics)
        return self.normative.score(vector, age, plane) if verdict.inside else not_scored(verdict.words)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one JSON file atomically."""
        write_json(path, self.to_dict(), format=FORMAT)

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Detector":
        """Raises UserError if the file is missing or is not a detector."""
        if not pathlib.Path(path).is_file():
            raise UserError(f"{path} is missing: fit an anomaly detector first")
        fields = read_json(path, format=FORMAT, what="an anomaly detector", remedy="copy it again")
        try:
            return cls.from_dict(fields)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: is not an anomaly detector ({error!r}): copy it again") from None

    def to_dict(self) -> dict[str, Any]:
        return {"classes": self.classes, "gate": self.ood.to_dict(), "normative": self.normative.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Detector":
        ood, normative = OODDetector.from_dict(values["gate"]), NormativeModel.from_dict(values["normative"])
        return cls(tuple(values["classes"]), ood, normative)
