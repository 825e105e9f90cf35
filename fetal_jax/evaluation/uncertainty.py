"""Uncertainty of a prediction: of each pixel, of each structure, and the risk-coverage curve over images.

Where several predictions of one image are needed, `members` are their probabilities: under the transforms of test-time
augmentation (`Segmenter.tta_members`), of the networks of an ensemble (`Ensemble.members`), or under MC dropout
(`Segmenter.mc_dropout`).
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer
from scipy import special

from fetal_jax.inference.connected_components import bounding_box, distance
from fetal_jax.inference.segmenter import Segmenter

BAND_PX = 3  # on each side of a structure's outline


def entropy(probs: Float[np.ndarray, "*space c"]) -> Float[np.ndarray, "*space"]:
    """The entropy of each pixel's classes, as a fraction of that of a guess among all of them."""
    return special.entr(probs).sum(-1) / np.log(probs.shape[-1])


def expected_dice(
    probs: Float[np.ndarray, "*space c"], labels: Integer[np.ndarray, "*space"] | None = None
) -> Float[np.ndarray, " foreground"]:
    """The Dice that each foreground class should have, were the probabilities true; NaN where it is not found.

    With y the mask in `labels`, by default that of the likeliest classes, it is 2 Σ p y / (Σ p + Σ y): the ratio of
    expectations for the expected ratio. Source: the Soft Dice Confidence of Borges, Pacheco & Silva, arXiv 2402.10665.
    """
    labels = probs.argmax(-1) if labels is None else labels
    values = []
    for i in range(1, probs.shape[-1]):
        p, mask = probs[..., i], labels == i
        found = np.count_nonzero(mask)
        total = p.sum(dtype=np.float64) + found
        values.append(2 * p[mask].sum(dtype=np.float64) / total if found else np.nan)
    return np.array(values)


def band_entropy(
    probs: Float[np.ndarray, "*space c"], labels: Integer[np.ndarray, "*space"] | None = None, width_px: int = BAND_PX
) -> Float[np.ndarray, " foreground"]:
    """The mean entropy along the outline of each class, `width_px` to both sides; NaN where it is not found
    or fills the frame.

    A sharp outline has little of it, whatever the size of the structure.
    """
    labels = probs.argmax(-1) if labels is None else labels
    values = []
    for i in range(1, probs.shape[-1]):
        box = bounding_box(labels == i, margin=width_px + 1)
        band = _band(labels[box] == i, width_px) if box else np.zeros(0, bool)
        values.append(entropy(probs[box][band]).mean() if box and band.any() else np.nan)
    return np.array(values)


def _band(mask: Bool[np.ndarray, "*space"], width_px: int) -> Bool[np.ndarray, "*space"]:
    """What lies within `width_px` of the outline of a mask; the frame is no outline."""
    if mask.all():
        return np.zeros_like(mask)
    return np.where(mask, distance(mask), distance(~mask)) <= width_px


def member_probabilities(members: Sequence[Segmenter], image: np.ndarray) -> Float[np.ndarray, "k *space c"]:
    """The class probabilities of each member for one image, in its native size."""
    return np.stack([next(member.probabilities([image])) for member in members])


def variance(members: Float[np.ndarray, "k *space c"]) -> Float[np.ndarray, "*space"]:
    """Of each pixel's probabilities over the members, the mean over the classes; 0.25 at most."""
    return members.var(0).mean(-1)


def mutual_information(members: Float[np.ndarray, "k *space c"]) -> Float[np.ndarray, "*space"]:
    """How much a pixel's prediction depends on the member, as a fraction: entropy of the mean, less the mean entropy.

    It is 0 where members agree, also where they agree that they do not know. Source: Houlsby et al., "Bayesian active
    learning for classification and preference learning", arXiv 1112.5745.
    """
    return entropy(members.mean(0)) - np.mean([entropy(member) for member in members], axis=0)


def agreement(members: Float[np.ndarray, "k *space c"]) -> Float[np.ndarray, " foreground"]:
    """The mean Dice of each foreground class over all pairs of members' label maps; NaN where no member finds it.

    A pair of which one finds it counts 0, one of which neither does is left out. Source: Roy et al., "Bayesian
    QuickNAT", NeuroImage 195, 2019, structure-wise uncertainty.
    """
    classes, labels = members.shape[-1], members.argmax(-1)
    by_class = []
    for i in range(1, classes):
        pairs = [_dice(a == i, b == i) for a, b in itertools.combinations(labels, 2)]
        defined = [dice for dice in pairs if not math.isnan(dice)]
        by_class.append(np.mean(defined) if defined else np.nan)
    return np.array(by_class)


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    both = int(a.sum()) + int(b.sum())
    return 2 * int((a & b).sum()) / both if both else math.nan


@dataclasses.dataclass(frozen=True)
class RiskCoverageCurve:
    """Risk against coverage: what is left when the least certain images are referred to a reader."""

    coverage: Float[np.ndarray, " n"]  # share of the images that are kept, 1/n to 1
    risk: Float[np.ndarray, " n"]  # mean risk of the kept ones
    aurc: float  # mean risk over all coverages
    oracle: float  # AURC of the order by risk itself
    random: float  # AURC of any order, on average
    n_undefined: int  # images left out: without a confidence or a risk

    @property
    def normalised_gain(self) -> float:
        """The share of what the oracle saves over a random order that is saved; NaN if all risks are equal.

        1 at best. Below 0 the order is worse than none.
        """
        possible = self.random - self.oracle
        return (self.random - self.aurc) / possible if possible > 0 else math.nan


def risk_coverage(
    confidence: Float[np.ndarray, " images"] | Sequence[float], risk: Float[np.ndarray, " images"] | Sequence[float]
) -> RiskCoverageCurve:
    """How the mean risk (say 1 - Dice) falls as images are left out, the least confident ones first.

    Images of equal confidence are in no order: each position among them has their mean risk. AURC is that of Geifman,
    Uziel & El-Yaniv, "Bias-reduced uncertainty estimation for deep neural classifiers", ICLR 2019. NaN is undefined:
    those images are left out and counted.

    Raises ValueError if the two are not equally long or nothing is defined.
    """
    sure, lost = np.asarray(confidence, float), np.asarray(risk, float)
    if sure.shape != lost.shape:
        raise ValueError(f"{len(sure)} confidences and {len(lost)} risks: they must be of the same images")
    defined = ~np.isnan(sure) & ~np.isnan(lost)
    if not defined.any():
        raise ValueError("no image has both a confidence and a risk")
    sure, lost = sure[defined], lost[defined]
    kept = _kept_risk(sure, lost)
    return RiskCoverageCurve(
        coverage=np.arange(1, len(lost) + 1) / len(lost),
        risk=kept,
        aurc=float(kept.mean()),
        oracle=float(_kept_risk(-lost, lost).mean()),
        random=float(lost.mean()),
        n_undefined=int((~defined).sum()),
    )


def _kept_risk(confidence: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """The mean risk of the k most confident images, for each k."""
    _, tie = np.unique(-confidence, return_inverse=True)
    number = np.bincount(tie)
    ordered = np.repeat(np.bincount(tie, risk) / number, number)
    return ordered.cumsum() / np.arange(1, len(risk) + 1)
