"""Mismatch of a prediction and its reference: the thesis' anomaly score, and maps of where they differ.

All of this needs the reference. Without an expert's mask of the same image it cannot run, so it cannot run in a clinic;
and what it finds are errors of the network as much as anomalies of the brain. The score that needs no reference is in
`normative.py`.

Source: the trans-thalamic thesis, 3.8 (its Eq. 3.10 and anomaly heatmaps).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer


def mismatch_score(
    prediction: Integer[np.ndarray, "*space"], reference: Integer[np.ndarray, "..."], classes: Sequence[str]
) -> dict[str, float]:
    """|P xor G| / |G| of every foreground class (Eq. 3.10): 0 for equal masks, 1 where nothing of G is found.

    A class absent from both masks has no score: NaN. One absent from the reference alone has infinitely many errors a
    pixel of it: inf, which no average swallows unseen. `classes` are names by id, the background first. Raises
    ValueError if the masks are of different sizes, or have an id that `classes` does not name.
    """
    mismatch_map(prediction, reference)  # raises for other shapes
    _check_ids("prediction", prediction, len(classes))
    _check_ids("reference", reference, len(classes))
    scores = {}
    for i, name in enumerate(classes[1:], 1):
        wrong = int(((prediction == i) != (reference == i)).sum())
        size = int((reference == i).sum())
        scores[name] = wrong / size if size else float("inf") if wrong else float("nan")
    return scores


def mismatch_map(
    prediction: Integer[np.ndarray, "*space"], reference: Integer[np.ndarray, "..."]
) -> Bool[np.ndarray, "*space"]:
    """Where prediction and reference differ, in any class: the thesis' difference map."""
    if prediction.shape != reference.shape:
        raise ValueError(f"the prediction has shape {prediction.shape}, the reference {reference.shape}")
    return prediction != reference


def disagreement(
    probs: Float[np.ndarray, "*space classes"], reference: Integer[np.ndarray, "..."]
) -> Float[np.ndarray, "*space"]:
    """A smooth map: the probability that the network gives to any class but the reference's.

    It is 1 - probs[reference], so a sure error is 1, an unsure border 0.5, a sure hit 0. Raises ValueError if shapes
    differ or the reference has an id beyond the channels.
    """
    if probs.shape[:-1] != reference.shape:
        raise ValueError(f"the probabilities have shape {probs.shape[:-1]}, the reference {reference.shape}")
    _check_ids("reference", reference, probs.shape[-1])
    hit = np.take_along_axis(probs, reference[..., None].astype(np.intp), -1)[..., 0]
    return np.clip(1 - hit, 0, 1)


def _check_ids(what: str, labels: np.ndarray, n: int) -> None:
    for wrong in (labels.min(initial=0), labels.max(initial=0)):
        if not 0 <= wrong < n:
            raise ValueError(f"the {what} has id {wrong}, but there are {n} classes")
