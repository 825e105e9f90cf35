"""What a sonographer measures on a predicted mask, beside the mask: sizes with intervals, age, and what is unusual."""

import dataclasses
import math
import pathlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.features import describe
from fetal_jax.anomaly.normative import AGE
from fetal_jax.anomaly.ood import image_statistics
from fetal_jax.biometry.dating import gestational_age
from fetal_jax.biometry.measures import known_spacing, measure
from fetal_jax.inference.segmenter import ModelCard, Segmentation
from fetal_jax.inference.tables import Row

Spacing = Sequence[float] | Float[np.ndarray, "2"]
DETECTOR = "anomaly_detector.json"  # beside the weights


@dataclasses.dataclass(frozen=True)
class Normal:
    """What is normal, and at which age."""

    detector: Detector | None = None
    ga_weeks: float | None = None


def read_detector(model: pathlib.Path) -> Detector | None:
    """What is normal to a model, given its workdir or its `model/` folder; None where that has not been fitted."""
    paths = (path for path in (model / "model" / DETECTOR, model / DETECTOR) if path.is_file())
    path = next(paths, None)
    return None if path is None else Detector.load(path)


def measurements(
    name: str,
    image: np.ndarray,
    answer: Segmentation,
    card: ModelCard,
    spacing_mm: Spacing | None,
    normal: Normal = Normal(),
) -> Row:
    """A row an image; a cell is empty where nothing can be said.

    Sizes in mm need the spacing; `_low` and `_high` hold nine of ten subjects, by the run's validation images. An age
    is that of a chart, with the 95 % interval of the chart alone. The anomaly score needs an age where the model
    of normals is by age.
    """
    sizes = measure(answer.labels, card.facts.classes, spacing_mm)
    row: Row = {
        "name": name,
        "spacing_mm": "" if known_spacing(spacing_mm) is None else " ".join(f"{s:g}" for s in spacing_mm),
    }
    for key, size in sizes.items():
        row[key] = _cell(size)
        if (half_width := card.intervals_mm.get(key)) is not None:
            low, high = np.maximum(0.0, size - half_width), size + half_width
            row |= {f"{key}_low": _cell(float(low)), f"{key}_high": _cell(high)}
    for chart, age in gestational_age(hc_mm=sizes["hc_mm"], tcd_mm=sizes["tcd_mm"]).items():
        weeks = {"weeks": age.weeks, "weeks_low": age.low, "weeks_high": age.high}
        row |= {f"{chart}_{key}": _cell(value) for key, value in weeks.items()}
    return row | _anomaly(image, answer, card, spacing_mm, normal)


def _anomaly(
    image: np.ndarray, answer: Segmentation, card: ModelCard, spacing_mm: Spacing | None, normal: Normal
) -> Row:
    detector, weeks = normal.detector, normal.ga_weeks
    if detector is None or (detector.normative.covariate == AGE and weeks is None):
        missing = "nothing is known of what is normal" if detector is None else "needs --ga-weeks"
        return {"anomaly_score": "", "anomaly_p": "", "anomaly": missing}
    vector = describe(answer.labels, card.facts.classes, spacing_mm)
    score = detector.score(image_statistics(_grey(image), answer.probs), vector, age=weeks, plane=None)
    return {"anomaly_score": _cell(score.score), "anomaly_p": _cell(score.p_value), "anomaly": score.words}


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image[..., 0]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"
