"""Scores of a segmenter on labelled images, in their native pixels: counts, averages, and `per_image.csv`."""

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
from fetal_jax.core.types import DatasetFacts, UserError
from fetal_jax.metrics.aggregate import absent, aggregate, mean_of_defined
from fetal_jax.metrics.overlap import Counts, count
from fetal_jax.metrics.registry import scores
from input_pipeline.dataset import Record

AVERAGES = ("per_image", "per_subject", "pooled")

ScoreTable = Mapping[str, Mapping[str, float | None]]  # {metric: {class | "mean": value, None where undefined}}
Interval = list[float] | None  # low and high; None: undefined
IntervalTable = Mapping[str, Mapping[str, Interval]]
Probabilities = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


@runtime_checkable
class Labelled(Protocol):
    """An image with its reference: see input_pipeline.dataset.Record."""

    @property
    def name(self) -> str: ...

    @property
    def subject(self) -> str: ...

    @property
    def image(self) -> np.ndarray: ...

    @property
    def labels(self) -> np.ndarray: ...

    @property
    def spacing_mm(self) -> np.ndarray: ...  # by axis; 0 is unknown

    @property
    def about(self) -> Mapping[str, Any]: ...  # what else its dataset knows


@runtime_checkable
class Records(Protocol):
    """A prepared dataset: see input_pipeline.dataset.Dataset."""

    @property
    def subjects(self) -> Mapping[str, str]:
        """The subject of each image, by its name."""

    def __getitem__(self, name: str) -> Record: ...

    def records(self, names: Sequence[str]) -> Iterator[Record]: ...


@dataclasses.dataclass(frozen=True)
class EvaluationData:
    """The dataset of a run, and which of its images are in which part."""

    dataset: Records
    parts: Mapping[str, tuple[str, ...]]  # names of images, by part
    facts: DatasetFacts

    @property
    def classes(self) -> tuple[str, ...]:
        """The background first."""
        return self.facts.classes

    @property
    def foreground(self) -> tuple[str, ...]:
        return self.facts.foreground

    @property
    def dims(self) -> int:
        """2 for images, 3 for volumes."""
        return self.facts.dims

    @property
    def has_anatomy(self) -> bool:
        """Whether sizes, normals and explanations are known: of images alone.

        The planes of biometry and the statistics of the anomaly detector are those of ultrasound images.
        """
        return self.facts.dims == 2

    def records(self, part: str, limit: int | None = None) -> Iterator[Record]:
        """The images of a part with their references, all or the first `limit`."""
        return self.dataset.records(self.parts[part][:limit])

    def subjects(self, part: str) -> list[str]:
        """The subject of each image of a part."""
        return [self.dataset.subjects[name] for name in self.parts[part]]


@dataclasses.dataclass(frozen=True)
class Absence:
    """On how many images a structure is not there."""

    reference: int  # in the prediction only: a false positive
    prediction: int  # in the reference only: a miss
    both: int


@dataclasses.dataclass(frozen=True)
class Scores:
    """The three averages of every metric over a set of images: see metrics.aggregate."""

    per_image: ScoreTable
    per_subject: ScoreTable
    pooled: ScoreTable
    median: ScoreTable  # over images; of classes, not of "mean"
    defined: Mapping[str, Mapping[str, int]]  # images behind a number, by metric and class
    n_images: int
    n_subjects: int
    absent: Mapping[str, Absence]  # by class

    def value(self, average: str, metric: str, name: str = "mean") -> float | None:
        """An average of a class, or of the "mean" over classes; None where it was not measured or is undefined."""
        table: ScoreTable = getattr(self, average)
        return table[metric][name] if metric in table else None

    def measures(self, metric: str) -> bool:
        """Whether a metric was measured."""
        return metric in self.per_image

    @property
    def distance_unit(self) -> str | None:
        """Millimetres where the size of any pixel is known, else pixels; None where no distance was measured."""
        return next((unit for unit in ("mm", "px") if self.measures(f"hd95_{unit}")), None)


@dataclasses.dataclass(frozen=True)
class Intervals:
    """95 % intervals of the averages of `Scores`: see confidence_intervals."""

    per_image: IntervalTable
    per_subject: IntervalTable
    pooled: IntervalTable

    def of(self, average: str, metric: str, name: str = "mean") -> Interval:
        """The interval of an average; None where there is none."""
        table: IntervalTable = getattr(self, average)
        return table[metric][name] if metric in table else None


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

    def averages(self) -> Scores:
        """The three averages of every metric."""
        pooled = scores(jax.tree.map(lambda x: np.sum(x, axis=0), self.counts)) | dict(self.pooled_distances)
        found = aggregate(self.values(), pooled, self.subjects, self.classes)
        cases = absent(self.counts, self.classes)
        return Scores(
            per_image=found["per_image"],
            per_subject=found["per_subject"],
            pooled=found["pooled"],
            median=found["median"],
            defined=found["defined"],
            n_images=found["n_images"],
            n_subjects=found["n_subjects"],
            absent={name: Absence(**of_class) for name, of_class in cases.items()},
        )

    def summary(self) -> dict[str, Any]:
        """The same as JSON data."""
        return dataclasses.asdict(self.averages())

    def dice(self, absent: float = np.nan) -> Float[np.ndarray, " images"]:
        """Mean Dice over the classes of each image.

        One that is absent from reference and prediction counts as `absent`; by default it is left out, and NaN is an
        image without any.
        """
        values = scores(self.counts)["dice"]
        return mean_of_defined(np.where(np.isnan(values), absent, values), axis=1)


def iter_predictions(
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
    """Segments every record once and counts its pixels; for all else see evaluator. Raises as `iter_predictions`."""
    rows = [
        (record.name, record.subject, count_labels(probs.argmax(-1), record.labels, len(classes)))
        for record, probs in iter_predictions(probabilities, records, classes)
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
    """One row per image and class: name, subject, class and the metrics; an undefined metric is an empty cell."""
    values = scored.values()
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "subject", "class", *values])
        for i, (name, subject) in enumerate(zip(scored.names, scored.subjects, strict=True)):
            for c, label in enumerate(scored.classes):
                cells = [of_images[i, c] for of_images in values.values()]
                writer.writerow([name, subject, label, *("" if np.isnan(x) else f"{x:.6f}" for x in cells)])
