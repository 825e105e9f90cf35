"""The evaluator: everything that is measured of images with references, in their own pixels, in one pass.

Memory grows by one row of numbers per image: pixels are counted and let go.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from jaxtyping import Float

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.anomaly.features import Structure, describe, describe_rows, features_in
from fetal_jax.anomaly.ood import image_statistics
from fetal_jax.biometry.measures import PIXELS, head_ellipse, known_spacing, measure_in
from fetal_jax.evaluation.scores import Labelled, Probabilities, Scored, count_labels, iter_predictions, stack
from fetal_jax.evaluation.uncertainty import expected_dice
from fetal_jax.metrics.overlap import Counts
from fetal_jax.metrics.pixel_histogram import PixelHistogram, pixel_histogram
from fetal_jax.metrics.surface import Pool, Surface, surface

WORKERS = 2  # measure while the network runs: NumPy, SciPy and OpenCV let go of the interpreter
NO_ANOMALY = "none"  # what a dataset calls an image without one
WAITING = 4  # images whose probabilities are held at a time

T = TypeVar("T")
U = TypeVar("U")
Numbers = dict[str, float]  # NaN is undefined
Clean = Callable[[np.ndarray], np.ndarray]  # a label map to a label map


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How a label map compares to the reference."""

    counts: Counts  # [foreground]
    surface: Surface
    values: Mapping[str, Float[np.ndarray, " foreground"]]  # of the surface


@dataclasses.dataclass(frozen=True)
class Anatomy:
    """Sizes and shapes measured on a label map of an image; empty for volumes."""

    sizes: Numbers  # biometry.measures
    structures: tuple[Structure, ...]  # one per structure
    features: Numbers  # what the normative model knows
    head_mm: Ellipse | None  # None also where the size of a pixel is unknown


@dataclasses.dataclass(frozen=True)
class ImageFacts:
    """What the dataset knows of an image; None where it does not."""

    anomaly: str = NO_ANOMALY
    plane: str | None = None
    ga_weeks: float | None = None

    @classmethod
    def of(cls, about: Mapping[str, Any]) -> "ImageFacts":
        """From `Record.about`, which holds what is known."""
        return cls(
            anomaly=str(about["anomaly"]) if "anomaly" in about else NO_ANOMALY,
            plane=str(about["plane"]) if "plane" in about else None,
            ga_weeks=float(about["ga_weeks"]) if "ga_weeks" in about else None,
        )


@dataclasses.dataclass(frozen=True)
class ImageResult:
    """What is kept of an image. Of its prediction: of the post-processed labels, if there are any."""

    name: str
    subject: str
    expected_dice: Float[np.ndarray, " foreground"]
    predicted: Anatomy
    reference: Anatomy
    image_statistics: Numbers  # what the out-of-distribution detector sees; empty for volumes
    facts: ImageFacts


@dataclasses.dataclass(frozen=True)
class MeasuredImage:
    """One image, with what is added up and let go."""

    result: ImageResult
    predicted: Comparison
    cleaned: Comparison | None  # of the post-processed labels
    tally: PixelHistogram


@dataclasses.dataclass(frozen=True)
class EvaluatedRecords:
    """The measurements of a set of images, in order."""

    scored: Scored
    cleaned: Scored | None
    tally: PixelHistogram
    expected_dice: Float[np.ndarray, "images foreground"]
    predicted: tuple[Anatomy, ...]
    reference: tuple[Anatomy, ...]
    image_statistics: tuple[Numbers, ...]
    facts: tuple[ImageFacts, ...]


@dataclasses.dataclass(frozen=True)
class ReferenceCohort:
    """Training images, on which the normative model and the out-of-distribution detector are fitted."""

    subjects: tuple[str, ...]
    features: tuple[Numbers, ...]  # of their references
    image_statistics: tuple[Numbers, ...]
    facts: tuple[ImageFacts, ...]


def measure_cohort(
    probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str]
) -> ReferenceCohort:
    """The reference cohort of images [h w c]. Raises what `iter_predictions` raises."""

    def measure(image: tuple[Labelled, np.ndarray]) -> tuple[str, Numbers, Numbers, ImageFacts]:
        record, probs = image
        features = describe(record.labels, classes, record.spacing_mm)
        return record.subject, features, image_statistics(record.image[..., 0], probs), ImageFacts.of(record.about)

    rows = in_order(measure, iter_predictions(probabilities, records, classes))
    return ReferenceCohort(*zip(*rows, strict=True))


def evaluate_records(
    probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str], clean: Clean | None = None
) -> EvaluatedRecords:
    """Segments and measures every record once. `classes` has the background first, `clean` post-processes.

    Raises what `iter_predictions` raises.
    """

    def measure(image: tuple[Labelled, np.ndarray]) -> MeasuredImage:
        record, probs = image
        return measure_image(record, probs, classes, clean)

    kept: list[ImageResult] = []
    predicted, cleaned = _Comparisons(), _Comparisons()
    total: PixelHistogram | None = None
    for image in in_order(measure, iter_predictions(probabilities, records, classes)):
        total = image.tally if total is None else total + image.tally
        predicted.add(image.predicted)
        if image.cleaned:
            cleaned.add(image.cleaned)
        kept.append(image.result)
    names, subjects = tuple(each.name for each in kept), tuple(each.subject for each in kept)
    assert total is not None  # iter_predictions raises where there is no record
    return EvaluatedRecords(
        scored=predicted.scored(names, subjects, tuple(classes[1:])),
        cleaned=cleaned.scored(names, subjects, tuple(classes[1:])) if clean else None,
        tally=total,
        expected_dice=np.stack([each.expected_dice for each in kept]),
        predicted=tuple(each.predicted for each in kept),
        reference=tuple(each.reference for each in kept),
        image_statistics=tuple(each.image_statistics for each in kept),
        facts=tuple(each.facts for each in kept),
    )


def measure_image(
    record: Labelled, probs: np.ndarray, classes: Sequence[str], clean: Clean | None = None
) -> MeasuredImage:
    """Every measurement of one image from its probabilities [*space c]."""
    labels = probs.argmax(-1).astype(np.uint8)
    cleaned = clean(labels) if clean else None
    shown = labels if cleaned is None else cleaned
    result = ImageResult(
        name=record.name,
        subject=record.subject,
        expected_dice=expected_dice(probs, shown),
        predicted=measure_anatomy(shown, classes, record.spacing_mm),
        reference=measure_anatomy(record.labels, classes, record.spacing_mm),
        # A volume has none: image statistics, sizes and shapes are those of the planes of ultrasound.
        image_statistics=image_statistics(record.image[..., 0], probs) if labels.ndim == 2 else {},
        facts=ImageFacts.of(record.about),
    )
    return MeasuredImage(
        result,
        predicted=compare_labels(labels, record, len(classes)),
        cleaned=None if cleaned is None else compare_labels(cleaned, record, len(classes)),
        tally=pixel_histogram(probs, record.labels),
    )


def measure_anatomy(labels: np.ndarray, classes: Sequence[str], spacing_mm: np.ndarray) -> Anatomy:
    """Sizes, structures and features of a label map, from one fit of the head."""
    if labels.ndim != 2:  # see measure_image
        return Anatomy({}, (), {}, None)
    head = head_ellipse(labels, classes, PIXELS)
    spacing = known_spacing(spacing_mm)
    rows = features_in(head, labels, classes, spacing)
    return Anatomy(
        sizes=measure_in(head, labels, classes, spacing),
        structures=tuple(rows),
        features=describe_rows(rows, head, labels, classes, spacing),
        head_mm=None if head is None or spacing is None else head.in_mm(spacing),
    )


def compare_labels(labels: np.ndarray, record: Labelled, num_classes: int) -> Comparison:
    """Counts and distances of a label map to a record's reference."""
    found = surface(labels, record.labels, num_classes, spacing_mm=record.spacing_mm)
    return Comparison(count_labels(labels, record.labels, num_classes), found, found.values())


def in_order(function: Callable[[T], U], items: Iterable[T]) -> Iterator[U]:
    """`map` by a few threads, which never run far ahead of what is asked for."""
    with ThreadPoolExecutor(WORKERS) as threads:
        running: deque[Future[U]] = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) >= WAITING:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


class _Comparisons:
    """Adds up comparisons, image by image: their numbers are kept, their outlines pooled."""

    def __init__(self) -> None:
        self._counts: list[Counts] = []
        self._values: list[Mapping[str, np.ndarray]] = []
        self._pool = Pool()

    def add(self, comparison: Comparison) -> None:
        self._counts.append(comparison.counts)
        self._values.append(comparison.values)
        self._pool.add(comparison.surface)

    def scored(self, names: tuple[str, ...], subjects: tuple[str, ...], classes: tuple[str, ...]) -> Scored:
        """All of them. A distance in mm is NaN where an image has no pixel size, and left out where none has."""
        metrics = dict.fromkeys(metric for values in self._values for metric in values)
        undefined = dict.fromkeys(metrics, np.full(len(classes), np.nan))
        rows = [undefined | dict(values) for values in self._values]
        distances = {metric: np.stack([row[metric] for row in rows]) for metric in metrics}
        return Scored(names, subjects, classes, stack(self._counts), distances, self._pool.values())
