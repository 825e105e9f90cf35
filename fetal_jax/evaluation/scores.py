"""Scores a segmenter on labelled images in their native pixels, and writes them down."""

import csv
import dataclasses
import pathlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError
from fetal_jax.metrics.aggregate import absent, aggregate, mean_of_defined
from fetal_jax.metrics.overlap import Counts, count, scores

Probabilities = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


@runtime_checkable
class Labelled(Protocol):
    """An image with its reference: see input_pipeline.dataset.Record."""

    name: str
    subject: str
    image: np.ndarray
    labels: np.ndarray
    spacing_mm: np.ndarray  # by axis; 0 is unknown
    about: Mapping[str, Any]  # what else its dataset knows


@dataclasses.dataclass(frozen=True)
class Scored:
    """The counts of a set of images, in order, and their distances where they were measured."""

    names: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]  # foreground
    counts: Counts  # [images classes]
    distances: Mapping[str, Float[np.ndarray, "images classes"]] = dataclasses.field(default_factory=dict)
    pooled_distances: Mapping[str, Float[np.ndarray, " classes"]] = dataclasses.field(default_factory=dict)

    def values(self) -> dict[str, Float[np.ndarray, "images classes"]]:
        """Every metric of every image; NaN where it is undefined."""
        return scores(self.counts) | dict(self.distances)

    def summary(self) -> dict[str, Any]:
        """The three averages: see metrics.aggregate."""
        pooled = scores(jax.tree.map(lambda x: np.sum(x, axis=0), self.counts)) | dict(self.pooled_distances)
        averages = aggregate(self.values(), pooled, self.subjects, self.classes)
        return {**averages, "absent": absent(self.counts, self.classes)}

    def dice(self, absent: float = np.nan) -> Float[np.ndarray, " images"]:
        """Mean Dice over the classes of each image.

        One that is absent from reference and prediction counts as `absent`; by default it is left out, and NaN is an
        image without any.
        """
        values = scores(self.counts)["dice"]
        return mean_of_defined(np.where(np.isnan(values), absent, values), axis=1)


def answers(
    probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str]
) -> Iterator[tuple[Labelled, Float[np.ndarray, "*space c"]]]:
    """Each record with the network's probabilities, in order. `classes` has the background first.

    Raises UserError if there is no record, or a reference has another size than its image or a label that is no class;
    FloatingPointError if a probability is not a number.
    """
    waiting: deque[Labelled] = deque()
    found = False

    def images() -> Iterator[np.ndarray]:
        for record in records:
            _check(record, classes)
            waiting.append(record)
            yield record.image

    for probs in probabilities(images()):
        record = waiting.popleft()
        if not np.isfinite(probs).all():
            raise FloatingPointError(f"the probabilities of {record.name} are not numbers")
        found = True
        yield record, probs
    if not found:
        raise UserError("the part to evaluate has no image: raise split.test")


def _check(record: Labelled, classes: Sequence[str]) -> None:
    space = record.image.shape[: record.labels.ndim]
    if record.labels.shape != space:
        raise UserError(f"{record.name}: the reference is {record.labels.shape}, its image {space}: prepare it again")
    if record.labels.size and int(record.labels.max()) >= len(classes):
        raise UserError(
            f"{record.name}: the reference has label {int(record.labels.max())}, but the classes are 0 to "
            f"{len(classes) - 1} ({', '.join(classes)}): prepare it again with the classes it has"
        )


def score(probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str]) -> Scored:
    """Segments every record once and counts its pixels; nothing else is measured: see `answers`, and assess.py."""
    rows = [
        (record.name, record.subject, count_labels(probs.argmax(-1), record.labels, len(classes)))
        for record, probs in answers(probabilities, records, classes)
    ]
    names, subjects, counts = zip(*rows, strict=True)
    return Scored(names, subjects, tuple(classes[1:]), stack(counts))


def count_labels(prediction: np.ndarray, labels: np.ndarray, num_classes: int) -> Counts:
    """The counts of the pixels or voxels of one image, shape [classes]."""
    rows = len(labels)
    return count(prediction.reshape(rows, -1), labels.reshape(rows, -1), num_classes)


def stack(counts: Sequence[Counts]) -> Counts:
    """Counts of images, one below the other: shape [images classes]."""
    return jax.tree.map(lambda *rows: np.stack(rows), *counts)


def write_per_image(path: pathlib.Path, scored: Scored) -> None:
    """A row an image and class: name, subject, class and the metrics; an undefined metric is an empty cell."""
    values = scored.values()
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "subject", "class", *values])
        for i, (name, subject) in enumerate(zip(scored.names, scored.subjects, strict=True)):
            for c, label in enumerate(scored.classes):
                cells = [of_images[i, c] for of_images in values.values()]
                writer.writerow([name, subject, label, *("" if np.isnan(x) else f"{x:.6f}" for x in cells)])
