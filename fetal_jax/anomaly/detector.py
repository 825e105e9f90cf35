"""Gate and normative model together: what travels with a network and scores its answers, or refuses to."""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from fetal_jax.anomaly.features import describe
from fetal_jax.anomaly.normative import AnomalyScore, Normative, refused
from fetal_jax.anomaly.ood import Gate, looks
from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError


@dataclasses.dataclass(frozen=True)
class Detector:
    """Scores one image from what a network says of it; no reference is needed."""

    classes: tuple[str, ...]  # of the network, by id, the background first
    gate: Gate
    normative: Normative

    def __call__(
        self,
        image: UInt8[np.ndarray, "h w"],
        probs: Float[np.ndarray, "h w classes"],
        spacing_mm: Sequence[float] | Float[np.ndarray, "2"] | None = None,
        *,
        age: float | None = None,
        plane: str | None = None,
    ) -> AnomalyScore:
        """The anomaly score of an image and its class probabilities; NaN, with the reason, where the gate is closed."""
        vector = describe(probs.argmax(-1), self.classes, spacing_mm)
        return self.score(looks(image, probs), vector, age=age, plane=plane)

    def score(
        self, looks: Mapping[str, float], vector: Mapping[str, float], *, age: float | None, plane: str | None
    ) -> AnomalyScore:
        """The same, of numbers that are known already: those of `gate.looks` and of `features.describe`."""
        verdict = self.gate(looks)
        return self.normative.score(vector, age, plane) if verdict.inside else refused(verdict.words)

    def save(self, path: str | os.PathLike) -> None:
        """Writes one JSON file, whole or not at all."""
        with replacing_file(path) as partial:
            partial.write_text(json.dumps(self.to_dict()) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "Detector":
        """Raises UserError if the file is missing or is no detector."""
        try:
            return cls.from_dict(json.loads(pathlib.Path(path).read_text()))
        except FileNotFoundError:
            raise UserError(f"{path} is missing: fit an anomaly detector first") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{path} is no anomaly detector ({error!r}): copy it again") from None

    def to_dict(self) -> dict[str, Any]:
        return {"classes": self.classes, "gate": self.gate.to_dict(), "normative": self.normative.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Detector":
        gate, normative = Gate.from_dict(values["gate"]), Normative.from_dict(values["normative"])
        return cls(tuple(values["classes"]), gate, normative)
