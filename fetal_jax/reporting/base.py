"""What every part of a report shares: its data, how numbers are written, and how pages are rendered."""

import dataclasses
import datetime
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import jinja2
import numpy as np
from markupsafe import Markup

from fetal_jax.core.types import DatasetFacts
from fetal_jax.evaluation.protocol import LabellingResult, StageResult, TrainingHistory
from fetal_jax.evaluation.results import (
    AnomalyResult,
    BiometryResult,
    PairedTestsResult,
    PixelResult,
    RobustnessResult,
    ScoresResult,
    UncertaintyResult,
)
from fetal_jax.statistics.paired import p_in_words
from input_pipeline.splits import Splits

DASH = "–"
MINUS = "−"

Number = float | int | None  # None and NaN are undefined


class Chart(NamedTuple):
    title: str
    svg: Markup


@dataclasses.dataclass(frozen=True)
class GalleryImage:
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
    maps: Mapping[str, np.ndarray]  # by title, RGB [h w 3]
    notes: Sequence[str]
    concentration: float | None


@dataclasses.dataclass(frozen=True)
class PseudoLabelsResult:
    """What each labelling kept, and some images of the last one."""

    labelling: tuple[LabellingResult, ...] = ()
    images: tuple[GalleryImage, ...] = ()


def _today() -> str:
    return datetime.date.today().isoformat()


@dataclasses.dataclass(frozen=True)
class Report:
    """What a report shows, one field per section. A section without data is left out."""

    title: str
    facts: DatasetFacts
    config: Mapping[str, Any]  # shown as it is
    dataset: str = ""
    model: str = ""
    n_parameters: int | None = None
    initial_weights: str | None = None
    splits: Splits | None = None
    warnings: tuple[str, ...] = ()
    protocol: tuple[StageResult, ...] = ()
    history: TrainingHistory | None = None
    scores: ScoresResult | None = None
    tests: PairedTestsResult | None = None
    pixels: PixelResult | None = None
    uncertainty: UncertaintyResult | None = None
    biometry: BiometryResult | None = None
    anomaly: AnomalyResult | None = None
    robustness: RobustnessResult | None = None
    gallery: tuple[GalleryImage, ...] = ()
    pseudo_labels: PseudoLabelsResult | None = None
    explanations: tuple[Explanation, ...] = ()
    date: str = dataclasses.field(default_factory=_today)


def environment(folder: Path) -> jinja2.Environment:
    """Renders the templates in a folder: text from outside is escaped, and a name that nobody gave is an error."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def known(value: Number) -> TypeGuard[float]:
    return value is not None and not math.isnan(value)


def number(value: Number, digits: int = 4) -> str:
    return f"{value:.{digits}f}".replace("-", MINUS) if known(value) else DASH


def signed(value: Number, digits: int = 2) -> str:
    return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", MINUS) if known(value) else DASH


def points(value: Number) -> str:
    """A difference of two fractions, in hundredths."""
    return signed(100 * value) if known(value) else DASH


def percent(share: Number, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %" if known(share) else DASH


def interval(ends: Sequence[Number] | None, digits: int = 3) -> str:
    """Two numbers with a dash between, or "to" where one is negative; empty where one is undefined."""
    if not ends or not all(map(known, ends)):
        return ""
    low, high = (number(end, digits) for end in ends)
    return f"{low} to {high}" if MINUS in low + high else f"{low}{DASH}{high}"


def p_value(p: Number) -> str:
    return p_in_words(p) if known(p) else DASH


def duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def counted(number: int, noun: str) -> str:
    """1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
