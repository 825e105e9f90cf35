"""Measurements of a predicted mask: biometry with intervals, gestational age, and the anomaly score."""

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
from fetal_jax.inference.outputs import Row
from fetal_jax.inference.segmenter import InferenceConfig, Segmentation

Spacing = Sequence[float] | Float[np.ndarray, "2"]
DETECTOR = "anomaly_detector.json"  # beside the weights


@dataclasses.dataclass(frozen=True)
class AnomalyReference:
    """The anomaly detector of a run, and the gestational age at which it is asked; None where unknown."""

    detector: Detector | None = None
    ga_weeks: float | None = None


def read_detector(model: pathlib.Path) -> Detector | None:
    """The anomaly detector of a model, given its workdir or its `model/` folder; None where none was fitted."""
    paths = (path for path in (model / "model" / DETECTOR, model / DETECTOR) if path.is_file())
    path = next(paths, None)
    return None if path is None else Detector.load(path)


def measurements(
    name: str,
    image: np.ndarray,
    segmentation: Segmentation,
    config: InferenceConfig,
    spacing_mm: Spacing | None,
    reference: AnomalyReference = AnomalyReference(),
) -> Row:
    """The row of one image; a cell is empty where nothing can be said.

    Sizes in mm need the spacing; `_low` and `_high` hold nine of ten subjects, by the run's validation images. An age
    is that of a chart, with the 95 % interval of the chart alone. The anomaly score needs an age where the model
    of normals is by age.
    """
    sizes = measure(segmentation.labels, config.facts.classes, spacing_mm)
    known = known_spacing(spacing_mm)
    row: Row = {"name": name, "spacing_mm": "" if known is None else " ".join(f"{s:g}" for s in known)}
    for key, size in sizes.items():
        row[key] = _cell(size)
        if (half_width := config.intervals_mm.get(key)) is not None:
            low, high = np.maximum(0.0, size - half_width), size + half_width
            row |= {f"{key}_low": _cell(float(low)), f"{key}_high": _cell(high)}
    for chart, age in gestational_age(hc_mm=sizes["hc_mm"], tcd_mm=sizes["tcd_mm"]).items():
        weeks = {"weeks": age.weeks, "weeks_low": age.low, "weeks_high": age.high}
        row |= {f"{chart}_{key}": _cell(value) for key, value in weeks.items()}
    return row | _anomaly(image, segmentation, config, spacing_mm, reference)


def _anomaly(
    image: np.ndarray,
    segmentation: Segmentation,
    config: InferenceConfig,
    spacing_mm: Spacing | None,
    reference: AnomalyReference,
) -> Row:
    detector, weeks = reference.detector, reference.ga_weeks
    if detector is None or (detector.normative.covariate == AGE and weeks is None):
        missing = "nothing is known of what is normal" if detector is None else "needs --ga-weeks"
        return {"anomaly_score": "", "anomaly_p": "", "anomaly": missing}
    vector = describe(segmentation.labels, config.facts.classes, spacing_mm)
    score = detector.score(image_statistics(_grey(image), segmentation.probs), vector, age=weeks, plane=None)
    return {"anomaly_score": _cell(score.score), "anomaly_p": _cell(score.p_value), "anomaly": score.words}


def _grey(image: np.ndarray) -> np.ndarray:
    return image if image.ndim == 2 else image[..., 0]


def _cell(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.4g}"
