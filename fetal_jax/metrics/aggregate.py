"""Averages of metrics over images, subjects and pixels, always side by side.

per_image    the value of each image, then the mean over images;
per_subject  the mean over the images of each subject, then the mean over subjects;
pooled       the counts of all images added up, then one score.
They differ, by tens of points for small structures, so one of them alone is not a result.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from fetal_jax.metrics.overlap import Counts


def aggregate(
    values: Mapping[str, Float[np.ndarray, "images classes"]],
    pooled: Mapping[str, Float[np.ndarray, " classes"]],
    subjects: Sequence[str],
    classes: Sequence[str],
) -> dict[str, Any]:
    """The summary of a test set, from the values of each image.

    Args:
      values: of each image and foreground class, by metric; NaN: undefined there.
      pooled: of all images together; a metric that cannot be pooled (a distance) is left out.
      subjects: of each image.
      classes: names of the foreground classes.

    Returns:
      {"per_image" | "per_subject" | "pooled": {metric: {class | "mean": value or None}}, "n_images", "n_subjects",
      "median": {metric: {class: value or None}} over images, which one outlier does not move, and "defined": {metric:
      {class: images on which it is defined}}. Averages are over what is defined; None: undefined on every image.

    Raises ValueError if `subjects` are not as many as the images.
    """
    if any(len(of_images) != len(subjects) for of_images in values.values()):
        raise ValueError(f"there are {len(subjects)} subjects: give one for each image")
    groups = _groups(subjects)
    return {
        "per_image": {m: _with_mean(mean_of_defined(v), classes) for m, v in values.items()},
        "per_subject": {m: _with_mean(_mean_of_means(v, groups), classes) for m, v in values.items()},
        "pooled": {m: _with_mean(v, classes) for m, v in pooled.items()},
        "median": {m: _row(_median(v), classes) for m, v in values.items()},
        "defined": {m: dict(zip(classes, (~np.isnan(v)).sum(0).tolist(), strict=True)) for m, v in values.items()},
        "n_images": len(subjects),
        "n_subjects": len(groups),
    }


def absent(counts: Counts, classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """On how many images a structure is not there: {class: {"reference" | "prediction" | "both": images}}.

    `counts` have shape [images classes]. "reference": in the prediction only, a false positive; "prediction": a
    miss.
    """
    reference, prediction = counts.tp + counts.fn == 0, counts.tp + counts.fp == 0
    cases = {
        "reference": reference & ~prediction,
        "prediction": prediction & ~reference,
        "both": reference & prediction,
    }
    return {name: {case: int(where[:, i].sum()) for case, where in cases.items()} for i, name in enumerate(classes)}


def mean_of_defined(values: Float[np.ndarray, "..."], axis: int = 0) -> Float[np.ndarray, "..."]:
    """Mean over an axis of what is defined; NaN where nothing is."""
    defined = ~np.isnan(values)
    number = defined.sum(axis)
    return np.where(number == 0, np.nan, np.where(defined, values, 0).sum(axis) / np.maximum(number, 1))


def _groups(subjects: Sequence[str]) -> list[np.ndarray]:
    names = np.asarray(subjects)
    return [np.flatnonzero(names == name) for name in dict.fromkeys(subjects)]


def _mean_of_means(values: np.ndarray, groups: Sequence[np.ndarray]) -> np.ndarray:
    return mean_of_defined(np.stack([mean_of_defined(values[group]) for group in groups]))


def _median(values: np.ndarray) -> np.ndarray:
    """Median over the first axis of what is defined; NaN where nothing is."""
    columns = (column[~np.isnan(column)] for column in values.T)
    return np.array([np.median(column) if column.size else np.nan for column in columns])


def _with_mean(values: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    return _row(np.append(values, mean_of_defined(values)), [*classes, "mean"])


def _row(values: np.ndarray, classes: Sequence[str]) -> dict[str, float | None]:
    row = zip(classes, values, strict=True)
    return {name: None if np.isnan(value) else float(value) for name, value in row}
