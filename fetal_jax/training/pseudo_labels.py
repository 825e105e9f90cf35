"""Pseudo-labellers: which of a teacher's probabilities become labels.

A pseudo-labeller is a pure function of the class probabilities of one image or volume and its mask of valid pixels. Its
answer has labels, pixel weights, and a reason where the item is dropped: then its weights are 0 everywhere.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from fetal_jax.core.types import UserError

KEPT = "kept"
UNCERTAIN = ("background", "ignore")


@dataclasses.dataclass(frozen=True)
class PseudoLabel:
    """The labels of one image or volume: `reason` is "kept" or why it is not used."""

    labels: np.ndarray  # uint8 [*space]
    weights: np.ndarray  # float32 [*space]
    reason: str
    pixels: int  # foreground pixels of the label
    confidence: float  # mean probability of those pixels, 0 if there are none

    @property
    def kept(self) -> bool:
        return self.reason == KEPT


PseudoLabeller = Callable[[np.ndarray, np.ndarray], PseudoLabel]


def threshold(
    probs: Float[np.ndarray, "*space c"],
    valid: Float[np.ndarray, "*space"],
    *,
    threshold: float,
    minimum_pixels: int,
    uncertain: str,
) -> PseudoLabel:
    """Foreground where its probability exceeds `threshold`; dropped under `minimum_pixels` (SS_CASE_UNet, stage 3).

    The source does not say what becomes of a pixel that looks like foreground but stays below the threshold. With
    `uncertain="background"` it is background; with "ignore" every pixel whose best class stays below has weight 0.
    """
    best, confidence = probs.argmax(-1), probs.max(-1)
    sure = confidence > threshold
    labels = np.where(sure & (valid > 0), best, 0).astype(np.uint8)
    weights = valid * sure if uncertain == "ignore" else valid
    pixels = int((labels > 0).sum())
    if pixels < minimum_pixels:
        return _answer(labels, weights, confidence, f"fewer than {minimum_pixels} foreground pixels above {threshold}")
    return _answer(labels, weights, confidence, KEPT)


def naive(probs: Float[np.ndarray, "*space c"], valid: Float[np.ndarray, "*space"]) -> PseudoLabel:
    """The most probable class of every pixel, every image kept (Naive_CASE-UNet, SS_CASE_UNet Table 5)."""
    labels = np.where(valid > 0, probs.argmax(-1), 0).astype(np.uint8)
    return _answer(labels, valid, probs.max(-1), KEPT)


PSEUDO_LABELLERS: dict[str, Callable[..., PseudoLabel]] = {"threshold": threshold, "naive": naive}


def make_pseudo_labeller(name: str, settings: Mapping[str, Any]) -> PseudoLabeller:
    """A pseudo-labeller with its settings bound. Raises UserError for an unknown name or a setting out of range."""
    if name not in PSEUDO_LABELLERS:
        raise UserError(f"pseudo_labeller {name!r} is unknown: choose one of {', '.join(PSEUDO_LABELLERS)}")
    if not 0 < settings["threshold"] < 1:
        raise UserError(f"pseudo_labels.threshold is {settings['threshold']}: it must lie between 0 and 1")
    if settings["uncertain"] not in UNCERTAIN:
        raise UserError(
            f"pseudo_labels.uncertain {settings['uncertain']!r} is unknown: choose {' or '.join(UNCERTAIN)}"
        )
    if name == "naive":
        return naive
    return lambda probs, valid: threshold(probs, valid, **settings)


def _answer(labels: np.ndarray, weights: np.ndarray, confidence: np.ndarray, reason: str) -> PseudoLabel:
    foreground = labels > 0
    return PseudoLabel(
        labels=labels,
        weights=(weights if reason == KEPT else np.zeros_like(weights)).astype(np.float32),
        reason=reason,
        pixels=int(foreground.sum()),
        confidence=float(confidence[foreground].mean()) if foreground.any() else 0.0,
    )
