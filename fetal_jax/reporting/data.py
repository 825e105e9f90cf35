"""What a report tells: data only, whoever made it."""

import dataclasses
import datetime

import numpy as np

from fetal_jax.core.types import DatasetFacts


def _today() -> str:
    return datetime.date.today().isoformat()


@dataclasses.dataclass(frozen=True)
class Example:
    """One image of the gallery. `labels` is None where there is no reference."""

    title: str  # e.g. "best"; of a pseudo-label: "kept", or why it was dropped
    name: str
    subject: str
    dice: float | None  # None or NaN: undefined
    image: np.ndarray  # uint8 [h w]
    labels: np.ndarray | None  # class ids [h w]
    prediction: np.ndarray  # class ids [h w], the image's own size


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What the network looked at in one image. Pictures are uint8."""

    name: str
    subject: str
    structure: str
    image: np.ndarray  # [h w]
    labels: np.ndarray | None  # class ids [h w]
    prediction: np.ndarray  # class ids [h w]
    maps: dict[str, np.ndarray]  # by title, RGB [h w 3]
    notes: list[str]
    concentration: float | None


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report tells. Any part may be empty: a section without data is left out.

    The dicts are what a workdir holds as JSON: its settings, the names in each part of the data, the lines of
    `metrics.jsonl`, a record of each labelling stage, the final scores, and their details.
    """

    title: str
    config: dict
    splits: dict
    metrics: list[dict]
    labelling: list[dict]
    summary: dict
    facts: DatasetFacts
    examples: list[Example]
    pseudo_examples: list[Example]
    details: dict = dataclasses.field(default_factory=dict)
    explanations: list[Explanation] = dataclasses.field(default_factory=list)
    date: str = dataclasses.field(default_factory=_today)

    @property
    def test(self) -> dict:
        """The scores of the last stage's network by itself; empty where it was not tested."""
        return self.summary.get("test") or {}
