"""Everything that is measured of test images, each in its own pixels, in one pass over them.

Memory grows by a row of numbers an image: pixels are tallied and let go.
"""

import dataclasses
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Float

from fetal_jax.anatomy.ellipse import Ellipse
from fetal_jax.anomaly.features import Structure, describe, describe_rows, features_in
from fetal_jax.anomaly.ood import image_statistics
from fetal_jax.biometry.measures import PIXELS, head_ellipse, known_spacing, measure_in
from fetal_jax.evaluation.scores import Labelled, Probabilities, Scored, answers, count_labels, stack
from fetal_jax.evaluation.uncertainty import expected_dice
from fetal_jax.metrics.overlap import Counts
from fetal_jax.metrics.pixel_histogram import PixelHistogram, pixel_histogram
from fetal_jax.metrics.surface import Pool, Surface, surface

WORKERS = 2  # measure while the network runs: NumPy, SciPy and OpenCV let go of the interpreter
WAITING = 4  # images whose probabilities are held at a time

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
    """What a label map of an image says of the head; empty for volumes."""

    sizes: Numbers  # biometry.measures
    structures: tuple[Structure, ...]  # a row a structure
    features: Numbers  # what the normative model knows
    head_mm: Ellipse | None  # None also where the size of a pixel is unknown


@dataclasses.dataclass(frozen=True)
class Case:
    """What is kept of an image. What is told of its prediction is told of the cleaned labels, if there are any."""

    name: str
    subject: str
    expected_dice: Float[np.ndarray, " foreground"]
    predicted: Anatomy
    reference: Anatomy
    looks: Numbers  # what the gate knows of the image and the answer; empty for volumes
    about: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Measured:
    """One image, with what is added up and let go."""

    case: Case
    answer: Comparison
    cleaned: Comparison | None  # of the post-processed labels
    tally: PixelHistogram


@dataclasses.dataclass(frozen=True)
class Assessment:
    """A set of images, in order."""

    scored: Scored
    cleaned: Scored | None
    tally: PixelHistogram
    expected_dice: Float[np.ndarray, "images foreground"]
    predicted: tuple[Anatomy, ...]
    reference: tuple[Anatomy, ...]
    looks: tuple[Numbers, ...]
    about: tuple[Mapping[str, Any], ...]  # what the dataset knows of each image


@dataclasses.dataclass(frozen=True)
class Looked:
    """What is normal: training images, of which nobody asks how well they are segmented."""

    subjects: tuple[str, ...]
    features: tuple[Numbers, ...]  # of their references
    looks: tuple[Numbers, ...]
    about: tuple[Mapping[str, Any], ...]


def look(probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str]) -> Looked:
    """What the gate and the normative model are fitted on, of images [h w c]. Raises what `answers` raises."""

    def of(case: tuple[Labelled, np.ndarray]) -> tuple[str, Numbers, Numbers, Mapping[str, Any]]:
        record, probs = case
        features = describe(record.labels, classes, record.spacing_mm)
        return record.subject, features, image_statistics(record.image[..., 0], probs), record.about

    return Looked(*zip(*in_order(of, answers(probabilities, records, classes)), strict=True))


def assess(
    probabilities: Probabilities, records: Iterable[Labelled], classes: Sequence[str], clean: Clean | None = None
) -> Assessment:
    """Segments and measures every record once. `classes` has the background first, `clean` post-processes.

    Raises what `answers` raises.
    """

    def of(image: tuple[Labelled, np.ndarray]) -> Measured:
        return measured(*image, classes, clean)

    cases, answer, cleaned = [], _Gathered(), _Gathered()
    total = None
    for image in in_order(of, answers(probabilities, records, classes)):
        total = image.tally if total is None else total + image.tally
        answer.add(image.answer)
        if image.cleaned:
            cleaned.add(image.cleaned)
        cases.append(image.case)
    names, subjects = tuple(case.name for case in cases), tuple(case.subject for case in cases)
    return Assessment(
        scored=answer.scored(names, subjects, tuple(classes[1:])),
        cleaned=cleaned.scored(names, subjects, tuple(classes[1:])) if clean else None,
        tally=total,
        expected_dice=np.stack([case.expected_dice for case in cases]),
        predicted=tuple(case.predicted for case in cases),
        reference=tuple(case.reference for case in cases),
        looks=tuple(case.looks for case in cases),
        about=tuple(case.about for case in cases),
    )


def measured(record: Labelled, probs: np.ndarray, classes: Sequence[str], clean: Clean | None = None) -> Measured:
    """All that is told of one image from its probabilities [*space c]."""
    labels = probs.argmax(-1).astype(np.uint8)
    cleaned = clean(labels) if clean else None
    shown = labels if cleaned is None else cleaned
    case = Case(
        name=record.name,
        subject=record.subject,
        expected_dice=expected_dice(probs, shown),
        predicted=anatomy(shown, classes, record.spacing_mm),
        reference=anatomy(record.labels, classes, record.spacing_mm),
        looks=image_statistics(record.image[..., 0], probs) if labels.ndim == 2 else {},
        about=record.about,
    )
    return Measured(
        case,
        answer=compared(labels, record, len(classes)),
        cleaned=None if cleaned is None else compared(cleaned, record, len(classes)),
        tally=pixel_histogram(probs, record.labels),
    )


def anatomy(labels: np.ndarray, classes: Sequence[str], spacing_mm: np.ndarray) -> Anatomy:
    """Sizes, structures and features of a label map, from one fit of the head."""
    if labels.ndim != 2:
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


def compared(labels: np.ndarray, record: Labelled, num_classes: int) -> Comparison:
    """Counts and distances of a label map to a record's reference."""
    found = surface(labels, record.labels, num_classes, spacing_mm=record.spacing_mm)
    return Comparison(count_labels(labels, record.labels, num_classes), found, found.values())


def in_order(function: Callable, items: Iterable) -> Iterator:
    """`map` by a few threads, which never run far ahead of what is asked for."""
    with ThreadPoolExecutor(WORKERS) as threads:
        running = deque()
        for item in items:
            running.append(threads.submit(function, item))
            if len(running) >= WAITING:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


class _Gathered:
    """Comparisons, image by image: their numbers are kept, their outlines pooled."""

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
        undefined = np.full(len(classes), np.nan)
        metrics = dict.fromkeys(metric for values in self._values for metric in values)
        distances = {m: np.stack([values.get(m, undefined) for values in self._values]) for m in metrics}
        return Scored(names, subjects, classes, stack(self._counts), distances, self._pool.values())
