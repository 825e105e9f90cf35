"""Whether the rows of published tables can all be true together, and whether what is said of them is."""

import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

from fetal_jax.statistics.consistency import known
from fetal_jax.statistics.consistency_overlap import prevalence, spread_bounds
from fetal_jax.statistics.published import FRACTIONS, METRICS, POOLED, UNKNOWN, Finding, Gain, Number, Row

NEAR, FAR = 0.2, 0.6  # SD of Dice in shares of 1 - Dice: hardly any, and what images differ by
TIMES = 4.0  # the two have to differ by more
LEAST_IMAGES = 10  # fewer may happen to be alike
LARGEST_RATIO = 20.0  # of the sizes that one structure has in one test set


def check_rows(rows: Sequence[Row], gains: Sequence[Gain] = ()) -> list[Finding]:
    """What rows that are sound one by one contradict in each other. Rows of one table are of one test set."""
    return [
        *_two_numbers(rows),
        *_shared_prevalence(rows),
        *_mixed_averages(rows),
        *_distant_averages(rows),
        *_means(rows),
        *_gains(rows, gains),
    ]


def _groups(rows: Iterable[Row], key: Callable[[Row], Hashable]) -> Iterator[list[Row]]:
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return iter(groups.values())


def _two_numbers(rows: Sequence[Row]) -> Iterator[Finding]:
    """The same metric of the same method, printed in two tables and not alike."""
    named = [row for row in rows if row.method]
    for same in _groups(named, lambda r: (r.source, r.method, r.structure, r.test_set, r.averaging, r.n)):
        for metric in METRICS:
            printed = [row for row in same if metric in row.values]
            pairs = itertools.combinations(printed, 2)
            apart = [(a, b) for a, b in pairs if a.table != b.table and not _alike(a.values[metric], b.values[metric])]
            if apart:
                a, b = apart[0]
                text = f"{metric} is {a.values[metric].text} here and {b.values[metric].text} in {b.table}"
                yield Finding("one number", True, a.label, text)


def _alike(a: Number, b: Number) -> bool:
    """One number: printed alike where it has the same digits, and where it has more, rounded to the other."""
    if math.isclose(a.width, b.width):
        return math.isclose(a.middle, b.middle)
    return a.low <= b.high and b.low <= a.high


def _shared_prevalence(rows: Sequence[Row]) -> Iterator[Finding]:
    """Accuracy, precision and recall of pooled pixels fix the share of positive pixels, and one test set has one."""
    needed = {"accuracy", "precision", "recall"}
    pooled = [row for row in rows if row.pooled and needed <= known(row)]
    for same in _groups(pooled, lambda r: (r.source, r.table, r.structure, r.test_set, r.n)):
        bounds = {row.method: prevalence(row) for row in same}
        highest, lowest = max(bounds, key=lambda m: bounds[m][0]), min(bounds, key=lambda m: bounds[m][1])
        if bounds[highest][0] > bounds[lowest][1]:
            text = (
                f"accuracy, precision and recall mean that the structure takes at least {bounds[highest][0]:.4f} of "
                f"the pixels for {highest} and at most {bounds[lowest][1]:.4f} for {lowest}: not the same test images"
            )
            yield Finding("one prevalence", True, _table(same[0]), text)


def _mixed_averages(rows: Sequence[Row]) -> Iterator[Finding]:
    """Rows whose images would all have the same Dice, beside rows whose images differ: pooled beside per image."""
    judged = [r for r in rows if not r.pooled and {"dice", "jaccard"} <= known(r) and not (r.n and r.n < LEAST_IMAGES)]
    for same in _groups(judged, lambda r: (r.source, r.table, r.structure, r.test_set, r.n)):
        spreads = {row.method: _relative_spread(row) for row in same}
        near = {method: high for method, (_, high) in spreads.items() if high < NEAR}
        far = {
            method: low
            for method, (low, _) in spreads.items()
            if low > FAR and low > TIMES * max(near.values(), default=0)
        }
        if near and far:
            text = (
                f"Jaccard is D/(2-D), as of pooled pixels, for {', '.join(near)}, and far above it, as of means over "
                f"images, for {', '.join(far)}: the rows are not averaged alike"
            )
            yield Finding("one way to average", False, _table(same[0]), text)


def _relative_spread(row: Row) -> tuple[float, float]:
    low, high = spread_bounds(row.values["dice"], row.values["jaccard"])
    error = max(1 - row.values["dice"].middle, 1e-9)
    return low / error, high / error


def _distant_averages(rows: Sequence[Row]) -> Iterator[Finding]:
    """Pooling weighs images by their pixels, so two averages that are far apart need sizes that are."""
    named = [row for row in rows if row.method]
    for same in _groups(named, lambda r: (r.source, r.method, r.structure, r.test_set)):
        pooled = [row for row in same if row.pooled]
        others = [row for row in same if row.averaging not in (POOLED, UNKNOWN)]
        for metric in ("recall", "dice"):
            pairs = [(a, b) for a in pooled for b in others if metric in a.values and metric in b.values]
            ratios = [(_ratio(a.values[metric], b.values[metric]), a, b) for a, b in pairs]
            if not ratios:
                continue
            ratio, a, b = max(ratios, key=lambda r: r[0])
            if ratio > LARGEST_RATIO:
                text = (
                    f"{metric} is {a.values[metric].text} pooled and {b.values[metric].text} per image, so it is "
                    f"{ratio:.0f} times as large in some images as in others, or images without it count as 0"
                )
                yield Finding("averages that agree", False, a.label, text)
                break


def _ratio(pooled: Number, mean: Number) -> float:
    """The least ratio of sizes: all large structures found and all small ones missed, or the reverse."""

    def odds(x: float) -> float:
        x = min(max(x, 1e-9), 1 - 1e-9)
        return x / (1 - x)

    return max(odds(pooled.low) / odds(mean.high), odds(mean.low) / odds(pooled.high))


def _means(rows: Sequence[Row]) -> Iterator[Finding]:
    for row in rows:
        parts = [other for other in rows if other is not row and _is_part(other, row)]
        for metric in FRACTIONS if row.mean_of else ():
            numbers = [part.values[metric] for part in parts if metric in part.values]
            if metric not in row.values or len(numbers) != len(row.mean_of):
                continue
            low, high = (sum(getattr(x, side) for x in numbers) / len(numbers) for side in ("low", "high"))
            if row.values[metric].low > high or row.values[metric].high < low:
                mean = row.values[metric].printed((low + high) / 2)
                text = (
                    f"{metric} {row.values[metric].text} is not the mean of {', '.join(row.mean_of)}, which is {mean}"
                )
                yield Finding("mean of its rows", True, row.label, text)


def _is_part(other: Row, row: Row) -> bool:
    same = (other.source, other.table, other.test_set) == (row.source, row.table, row.test_set)
    as_structure = other.method == row.method and other.structure in row.mean_of
    as_method = other.structure == row.structure and other.method in row.mean_of
    return same and (as_structure or as_method)


def _gains(rows: Sequence[Row], gains: Sequence[Gain]) -> Iterator[Finding]:
    for claim in gains:
        of, against = (_look_up(rows, claim, method) for method in (claim.of, claim.against))
        low, high, relative = of.low - against.high, of.high - against.low, of.middle / against.middle - 1
        if claim.gain.low > high or claim.gain.high < low:
            text = (
                f"{claim.metric} of {claim.of} is said to be {claim.gain.text} above {claim.against}: the table says "
                f"{of.text} and {against.text}, which is {claim.gain.printed((low + high) / 2)}"
            )
            in_percent = of.scale != 1 and claim.gain.low <= relative <= claim.gain.high
            note = " (it is the relative gain in percent, not one in points)" if in_percent else ""
            yield Finding("gain between rows", True, claim.label, text + note)


def _look_up(rows: Sequence[Row], claim: Gain, method: str) -> Number:
    """Raises KeyError if the table does not say."""
    for row in rows:
        asked = claim.source, claim.table, method, claim.structure, claim.test_set
        if (row.source, row.table, row.method, row.structure, row.test_set) == asked and claim.metric in row.values:
            return row.values[claim.metric]
    raise KeyError(method)


def _table(row: Row) -> str:
    return ", ".join(part for part in (row.source, row.table, row.structure, row.test_set) if part)
