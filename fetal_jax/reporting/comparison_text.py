"""A comparison as lines to print, and its numbers in words."""

import dataclasses
import math

from fetal_jax.evaluation.comparison import MEAN, Agreement, Comparison, Pair, Row
from fetal_jax.metrics.registry import higher_is_better

DASH = "–"
LESS = "less is better"
OF_ALL = (
    f"{MEAN}: per image the mean of its defined structures, then over subjects; the headline of evaluate is another "
    "mean: over images for each structure, then over structures"
)
TITLES = ("difference", "n", "t", "Wilcoxon", "permut.", "Holm", "Cohen's d", "smallest gain")


@dataclasses.dataclass(frozen=True)
class Numbers:
    """How numbers of one comparison are written: scores with four places, lengths with two."""

    places: int

    @classmethod
    def of(cls, comparison: Comparison) -> "Numbers":
        means = [
            mean for pair in comparison.pairs for row in pair.rows for mean in (row.result.mean_a, row.result.mean_b)
        ]
        return cls(2 if any(abs(mean) >= 2 for mean in means) else 4)

    def value(self, x: float) -> str:
        return DASH if math.isnan(x) else f"{x:.{self.places}f}"

    def signed(self, x: float) -> str:
        return DASH if math.isnan(x) else f"{x:+.{self.places}f}"

    def interval(self, low: float, high: float, *, signed: bool = False) -> str:
        """[low, high], or nothing where there is none."""
        write = self.signed if signed else self.value
        return "" if math.isnan(low) else f"[{write(low)}, {write(high)}]"


SIZES = Numbers(2)  # Cohen's d and ICC have no unit


def p_value(p: float) -> str:
    """Four places; what is less is said to be less."""
    if math.isnan(p):
        return DASH
    return "<0.0001" if p < 1e-4 else f"{p:.4f}"


def lines_of(comparison: Comparison) -> list[str]:
    """One table per pair of runs, one row per class; then the verdicts, the agreement of seeds and the warnings."""
    numbers = Numbers.of(comparison)
    lines = [f"{comparison.metric} of {comparison.n_images} test images of {comparison.n_subjects} subjects"]
    lines += [] if higher_is_better(comparison.metric) else [LESS]
    for pair in comparison.pairs:
        lines += ["", *_pair(pair, numbers, comparison.metric)]
    if len(comparison.pairs) > 1:
        lines += ["", f"Holm: Wilcoxon's p corrected for {len(comparison.pairs)} pairs of runs, each class by itself"]
    if len(comparison.classes) > 1:
        lines += ["", OF_ALL]
    lines += [f"between seeds: {agreement_in_words(one)}" for one in comparison.agreements]
    return lines + [f"note: {warning}" for warning in comparison.warnings]


def _pair(pair: Pair, numbers: Numbers, metric: str) -> list[str]:
    table: list[tuple[str, ...]] = [("", pair.a, pair.b, *TITLES)]
    table += [_cells(row, numbers) for row in pair.rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [f"{pair.b} against {pair.a}; means of subjects' means, 95 % intervals"]
    for cells in table:
        padded = [f"{cell:>{width}}" for cell, width in zip(cells[1:], widths[1:], strict=True)]
        lines.append("  ".join([f"  {cells[0]:{widths[0]}}", *padded]).rstrip())
    for row in pair.rows:
        lines.append(f"  {row.label}: {row.verdict}")
        lines += [f"  {row.label}: {dropped_in_words(row, pair, metric)}"] if row.result.n_dropped else []
    return lines


def _cells(row: Row, numbers: Numbers) -> tuple[str, ...]:
    result = row.result

    def both(value: str, interval: str) -> str:
        return f"{value} {interval}".strip()

    return (
        row.label,
        both(numbers.value(result.mean_a), numbers.interval(*row.interval_a)),
        both(numbers.value(result.mean_b), numbers.interval(*row.interval_b)),
        both(numbers.signed(result.difference), numbers.interval(result.low, result.high, signed=True)),
        str(result.n),
        *map(p_value, (result.t_p, result.wilcoxon_p, result.permutation_p, row.holm_p)),
        both(SIZES.signed(result.effect), SIZES.interval(result.effect_low, result.effect_high, signed=True)),
        numbers.value(row.smallest_gain),
    )


def dropped_in_words(row: Row, pair: Pair, metric: str) -> str:
    """Which images are in no number of a row, and why."""
    left_out, several = row.left_out, row.label == MEAN
    reasons = []
    if left_out.absent:
        it = "every structure is" if several else "it is"
        reasons.append(f"{_images(left_out.absent)} where {it} rightly absent from both")
    for run, number in zip((pair.a, pair.b), left_out.false_positive, strict=True):
        if number:
            more = f"{number} more" if reasons else _images(number)
            reasons.append(f"{run} has a false positive in {more}")
    if left_out.undefined:
        why = "without a pixel size, so without millimetres" if metric.endswith("_mm") else "where it is undefined"
        reasons.append(f"{_images(left_out.undefined)} {why}")
    return f"left out: {'; '.join(reasons)}"


def _images(number: int) -> str:
    return "1 image" if number == 1 else f"{number} images"


def agreement_in_words(one: Agreement) -> str:
    """ICC(2,1) with its interval, and between what."""
    icc = f"{SIZES.value(one.icc)} {SIZES.interval(one.low, one.high)}".strip()
    return f"ICC(2,1) of {one.label} {icc} ({', '.join(one.runs)}; seeds {', '.join(one.seeds)}; {one.n} subjects)"
