"""Scores a segmenter on labelled images in their native pixels, and writes them down."""

import csv
import dataclasses
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from fetal_jax.atomic import replacing_file
from fetal_jax.metrics.aggregate import aggregate
from fetal_jax.metrics.overlap import METRICS, Counts, count, scores
from fetal_jax.types import UserError

Probabilities = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


@runtime_checkable
class Labelled(Protocol):
    """An image with its reference: see input_pipeline.dataset.Record."""

    name: str
    subject: str
    image: np.ndarray
    labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Scored:
    """The counts of a set of images, in order."""

    names: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]  # foreground
    counts: Counts  # [images classes]

    def summary(self) -> dict[str, Any]:
        """The three averages: see metrics.aggregate."""
        return aggregate(self.counts, self.subjects, self.classes)

    def dice(self) -> np.ndarray:
        """Mean Dice over the defined classes of each image; NaN where every class is absent from both."""
        values = scores(self.counts)["dice"]
        defined = ~np.isnan(values)
        number = defined.sum(1)
        return np.where(number == 0, np.nan, np.where(defined, values, 0).sum(1) / np.maximum(number, 1))


def score(probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str]) -> Scored:
    """Segments every record once and counts its pixels. `classes` has the background first.

    Raises UserError if there is no record, FloatingPointError if a probability is not a number.
    """
    waiting: deque[Labelled] = deque()

    def images() -> Iterator[np.ndarray]:
        for record in records:
            waiting.append(record)
            yield record.image

    names, subjects, counts = [], [], []
    for probs in probabilities(images()):
        record = waiting.popleft()
        if not np.isfinite(probs).all():
            raise FloatingPointError(f"the probabilities of {record.name} are not numbers")
        counts.append(count(_flat(probs.argmax(-1)), _flat(record.labels), len(classes)))
        names.append(record.name)
        subjects.append(record.subject)
    if not names:
        raise UserError("the part to evaluate has no image: raise split.test")
    stacked = jax.tree.map(lambda *rows: np.stack(rows), *counts)
    return Scored(tuple(names), tuple(subjects), tuple(classes[1:]), stacked)


def _flat(labels: np.ndarray) -> np.ndarray:
    """The pixels or voxels as rows, in two axes: what is counted over."""
    return labels.reshape(len(labels), -1)


def write_per_image(path: pathlib.Path, scored: Scored) -> None:
    """A row an image and class: name, subject, class and the metrics; an undefined metric is an empty cell."""
    values = scores(scored.counts)
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "subject", "class", *METRICS])
        for i, (name, subject) in enumerate(zip(scored.names, scored.subjects, strict=True)):
            for c, label in enumerate(scored.classes):
                cells = [values[metric][i, c] for metric in METRICS]
                writer.writerow([name, subject, label, *("" if np.isnan(x) else f"{x:.6f}" for x in cells)])
