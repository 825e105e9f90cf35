"""Distances between outlines, and areas under curves, that do not go with the overlap beside them."""

import math
from collections.abc import Iterator

from fetal_jax.statistics.consistency_overlap import jaccard_at
from fetal_jax.statistics.published import Row, outside

LEAST_DICE = 0.9  # below it, distances are ruled by the images that fail
REACH = 4.0  # times the distance of an outline that is off by the same everywhere
PREVALENCE = 0.9  # no structure takes more of an image
LEAST_AUC = 0.6  # below it, straight lines between few points of a precision-recall curve are far above it


def distance_of_dice(row: Row) -> Iterator[str]:
    if row.pooled or row.values["dice"].high < LEAST_DICE:
        return
    dice, distance = row.values["dice"], row.values["asd_px"]
    frame = math.prod(row.size_px) if row.size_px else math.inf
    radius = math.sqrt(min(row.area_px or frame, frame) / math.pi)  # no shape of this area has more area to its outline
    even = radius * (1 - dice.low)
    reach = max(REACH * even, math.hypot(*row.size_px) * (1 - dice.low) if row.size_px else 0.0) + 1
    if distance.low > reach:
        yield (
            f"ASD {distance.text} px does not go with Dice {dice.text}: an outline that is off by the same distance "
            f"everywhere is off by {even:.1f} px, and {reach:.1f} px is the most that failures in the frame explain"
        )


def distance_below_largest(row: Row, unit: str) -> Iterator[str]:
    mean, largest = row.values[f"asd_{unit}"], row.values[f"hd_{unit}"]
    if mean.low > largest.high:
        yield f"ASD {mean.text} {unit} is above the Hausdorff distance, {largest.text} {unit}"


def auc_roc_of_dice(row: Row) -> Iterator[str]:
    dice, share = row.values["dice"], row.prevalence_max
    if share is None:
        return
    low = (jaccard_at(dice.low) - share) / (1 - share)
    why = (
        f"Dice {dice.text}, a point of the curve if both are of the same pixels, and a structure that takes at most "
        f"{share:g} of an image"
    )
    yield from outside(row.values["auc_roc"], low, 1.0, "AUC-ROC", why)


def auc_pr_of_auc_roc(row: Row) -> Iterator[str]:
    roc, pr = row.values["auc_roc"], row.values["auc_pr"]
    if roc.high < LEAST_AUC or roc.high >= 1:
        return
    share = row.prevalence_max or PREVALENCE
    high = 1 + (1 - share) / share * math.log1p(-share * (1 - roc.high))
    why = f"AUC-ROC {roc.text} and a structure that takes at most {share:g} of an image"
    yield from outside(pr, 0.0, high, "AUC-PR", why)
