"""Three averages of the same counts, always side by side.

per_image    the score of each image, then the mean over images;
per_subject  the mean over the images of each subject, then the mean over subjects;
pooled       the counts of all images added up, then one score.
They differ, by tens of points for small structures, so one of them alone is no result.
"""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from fetal_jax.metrics.overlap import Counts, scores


def aggregate(counts: Counts, subjects: Sequence[str], classes: Sequence[str]) -> dict[str, Any]:
    """The summary of a test set.

    Args:
      counts: of each image, shape [images classes].
      subjects: of each image.
      classes: names of the foreground classes.

    Returns:
      {"per_image" | "per_subject" | "pooled": {metric: {class | "mean": fraction or None}}, "n_images", "n_subjects",
      "absent": {class: {"reference" | "prediction" | "both": images}}}. None: undefined on every image.
    """
    per_image = scores(counts)
    pooled = scores(jax.tree.map(lambda x: np.sum(x, axis=0), counts))
    groups = _groups(subjects)
    return {
        "per_image": {m: _table(_mean(v), classes) for m, v in per_image.items()},
        "per_subject": {
            m: _table(_mean(np.stack([_mean(v[g]) for g in groups])), classes) for m, v in per_image.items()
        },
        "pooled": {m: _table(v, classes) for m, v in pooled.items()},
        "n_images": len(subjects),
        "n_subjects": len(groups),
        "absent": _absent(counts, classes),
    }


def _groups(subjects: Sequence[str]) -> list[np.ndarray]:
    names = np.asarray(subjects)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(subjects)]


def _mean(values: np.ndarray) -> np.ndarray:
    """Mean over the first axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    total = np.where(defined, values, 0).sum(0)
    number = defined.sum(0)
    return np.where(number == 0, np.nan, total / np.maximum(number, 1))


def _table(values: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    row = dict(zip(classes, values, strict=True)) | {"mean": _mean(values)}
    return {name: None if np.isnan(value) else float(value) for name, value in row.items()}


def _absent(counts: Counts, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    reference, prediction = counts.tp + counts.fn == 0, counts.tp + counts.fp == 0
    cases = {
        "reference": reference & ~prediction,
        "prediction": prediction & ~reference,
        "both": reference & prediction,
    }
    return {name: {case: int(where[:, i].sum()) for case, where in cases.items()} for i, name in enumerate(classes)}
