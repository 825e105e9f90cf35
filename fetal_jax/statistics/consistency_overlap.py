"""Overlap scores of one row that exclude each other: Dice, Jaccard, precision, recall, accuracy, and their spread.

Of one set of pixels two of them give the others. A mean over images obeys what Jensen's inequality leaves of that.
"""

import math
from collections.abc import Iterator

from fetal_jax.statistics.published import Number, Row, outside


def jaccard_at(dice: float) -> float:
    """J = D / (2 - D), of one set of pixels."""
    return dice / (2 - dice)


def harmonic(precision: float, recall: float) -> float:
    """D = 2 P R / (P + R), of one set of pixels."""
    return 2 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


def spread_bounds(dice: Number, jaccard: Number) -> tuple[float, float]:
    """The least and the largest SD of Dice over images whose means of Dice and Jaccard are these.

    J(D) is convex with a positive third derivative, so of all distributions on [0, 1] with one mean and one variance
    the mean of J is least on {0, x} and largest on {y, 1} (Karlin and Studden, Tchebycheff Systems, 1966).
    """
    error, least = max(1 - dice.high, 0.0), min(jaccard.low, 1 - 1e-12)
    smallest = error * (2 * error / (1 - least) - 1 - error) if least > jaccard_at(dice.high) else 0.0
    mean = dice.low
    largest = mean * (2 - mean - mean / jaccard.high) if jaccard.high > 0 and mean > 0 else 0.25
    return math.sqrt(max(smallest, 0.0)), math.sqrt(max(largest, 0.0))


def _averaged(row: Row) -> str:
    return " of pooled pixels" if row.pooled else ""


def dice_of_both(row: Row) -> Iterator[str]:
    """Precision and recall; their harmonic mean is concave, and 0 at all corners but (1, 1)."""
    dice, precision, recall = (row.values[name] for name in ("dice", "precision", "recall"))
    high = harmonic(precision.high, recall.high)
    low = harmonic(precision.low, recall.low) if row.pooled else precision.low + recall.low - 1
    why = f"precision {precision.text} and recall {recall.text}{_averaged(row)}"
    yield from outside(dice, low, high, "Dice", why)


def jaccard_of_dice(row: Row) -> Iterator[str]:
    dice, jaccard = row.values["dice"], row.values["jaccard"]
    high = jaccard_at(dice.high) if row.pooled else dice.high
    yield from outside(jaccard, jaccard_at(dice.low), high, "Jaccard", f"Dice {dice.text}{_averaged(row)}")


def jaccard_of_both(row: Row) -> Iterator[str]:
    jaccard, precision, recall = (row.values[name] for name in ("jaccard", "precision", "recall"))
    high, low = min(precision.high, recall.high), precision.low + recall.low - 1
    if row.pooled:
        low = jaccard_at(harmonic(precision.low, recall.low))
        high = jaccard_at(harmonic(precision.high, recall.high))
    why = f"precision {precision.text} and recall {recall.text}{_averaged(row)}"
    yield from outside(jaccard, low, high, "Jaccard", why)


def jaccard_of_accuracy(row: Row) -> Iterator[str]:
    accuracy, jaccard = row.values["accuracy"], row.values["jaccard"]
    yield from outside(jaccard, 0.0, accuracy.high, "Jaccard", f"accuracy {accuracy.text}")


def dice_of_accuracy(row: Row) -> Iterator[str]:
    accuracy, dice = row.values["accuracy"], row.values["dice"]
    yield from outside(dice, 0.0, 2 * accuracy.high / (1 + accuracy.high), "Dice", f"accuracy {accuracy.text}")


def prevalence_of_accuracy(row: Row) -> Iterator[str]:
    if row.pooled and prevalence(row)[0] > 1:
        yield f"accuracy, precision and recall need a structure of {prevalence(row)[0]:.2f} times all pixels"


def prevalence(row: Row) -> tuple[float, float]:
    """The share of positive pixels that accuracy, precision and recall of pooled pixels leave: least and largest."""
    accuracy, precision, recall = (row.values[name] for name in ("accuracy", "precision", "recall"))
    wrong = [
        1 - r + r * (1 / max(p, 1e-9) - 1)  # false pixels for each positive one
        for p in (precision.low, min(precision.high, 1.0))
        for r in (max(recall.low, 0.0), min(recall.high, 1.0))
    ]
    least, most = min(wrong), max(wrong)
    return max(1 - accuracy.high, 0.0) / most if most else 0.0, (1 - accuracy.low) / least if least else math.inf


def spread_of_dice(row: Row) -> Iterator[str]:
    """Numbers in [0, 1] of mean m have a variance of at most m (1 - m) (Bhatia and Davis 2000)."""
    dice, spread = row.values["dice"], row.spreads["dice"]
    nearest = min(max(0.5, dice.low), dice.high)
    high = math.sqrt(max(nearest * (1 - nearest), 0) * _sample(row))
    yield from outside(spread, 0.0, high, "SD", f"numbers in [0, 1] of mean {dice.text}")


def spread_of_dice_and_jaccard(row: Row) -> Iterator[str]:
    if row.pooled:
        return
    dice, jaccard = row.values["dice"], row.values["jaccard"]
    low, high = spread_bounds(dice, jaccard)
    why = f"means over images of Dice {dice.text} and Jaccard {jaccard.text}"
    yield from outside(row.spreads["dice"], low, high * math.sqrt(_sample(row)), "SD of Dice", why)


def _sample(row: Row) -> float:
    """The variance of a sample over that of its distribution, at most."""
    return row.n / (row.n - 1) if row.n and row.n > 1 else 2.0
