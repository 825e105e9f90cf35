"""Whether the numbers of one row of a published table can all be true.

A row is a point (`pooled`: the pixels of all images counted together) or a mean of such points (`per_image`). A point
is a mean of one, so what holds for every mean holds where the averaging is `unknown`. Every rule takes the printed
numbers as intervals and speaks up only if nothing inside them obeys it; docs/check_table.md derives them. A rule that
is called certain is a theorem; of the others the docs say what they assume.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

from scipy import stats

from fetal_jax.statistics import consistency_curves as curves
from fetal_jax.statistics import consistency_overlap as overlap
from fetal_jax.statistics.published import Finding, Row

EXACT = ("wilcoxon", "sign", "permutation")  # tests of n signs, all of which are equally likely
UNPAIRED = ("rank-sum", "rank sum", "ranksum", "unpaired", "independent")  # of two groups


def check_row(row: Row) -> list[Finding]:
    """What no numbers inside the printed intervals can satisfy."""
    given = known(row)
    return [
        Finding(name, certain, row.label, text)
        for name, (needs, certain, rule) in RULES.items()
        if needs <= given
        for text in rule(row)
    ]


def known(row: Row) -> set[str]:
    """What the row says, as the rules ask for it."""
    given = {"p": row.p, "n": row.n, "test": row.test, "prevalence": row.prevalence_max}
    spreads = {f"sd of {metric}" for metric in row.spreads}
    frame = {"size"} if row.area_px or row.size_px else set()
    return set(row.values) | spreads | frame | {name for name, value in given.items() if value}


def p_of_n(row: Row) -> Iterator[str]:
    """All 2**n signs of n paired differences are equally likely, so no exact test of them has a p below one of them."""
    test = row.test.lower()
    if row.n is None or row.p is None or not test.startswith(EXACT) or any(word in test for word in UNPAIRED):
        return
    sides = 1 if "one-sided" in row.test else 2
    least = min(sides * 0.5**row.n, 1.0)
    if row.p.high < least or (row.p.high == least and row.p.text.startswith("<")):
        normal = stats.norm.sf(math.sqrt(1.5 * row.n * (row.n + 1) / (2 * row.n + 1)))
        yield (
            f"p {row.p.text} by {row.test} on n = {row.n}: the least that an exact test can give is {least:.4g} "
            f"(a normal approximation of Wilcoxon's, which does not hold for so few, can give {sides * normal:.2g})"
        )


Rule = tuple[set[str], bool, Callable[[Row], Iterator[str]]]
# What a rule needs, whether it is certain, and the rule.
RULES: dict[str, Rule] = {
    "dice of precision and recall": ({"dice", "precision", "recall"}, True, overlap.dice_of_both),
    "jaccard of dice": ({"dice", "jaccard"}, True, overlap.jaccard_of_dice),
    "jaccard of precision and recall": ({"jaccard", "precision", "recall"}, True, overlap.jaccard_of_both),
    "jaccard of accuracy": ({"jaccard", "accuracy"}, True, overlap.jaccard_of_accuracy),
    "dice of accuracy": ({"dice", "accuracy"}, True, overlap.dice_of_accuracy),
    "prevalence of accuracy": ({"accuracy", "precision", "recall"}, True, overlap.prevalence_of_accuracy),
    "spread of dice": ({"dice", "sd of dice"}, True, overlap.spread_of_dice),
    "spread of dice and jaccard": ({"dice", "jaccard", "sd of dice"}, False, overlap.spread_of_dice_and_jaccard),
    "distance of dice": ({"dice", "asd_px", "size"}, False, curves.distance_of_dice),
    "asd below hd": ({"asd_px", "hd_px"}, True, partial(curves.distance_below_largest, unit="px")),
    "asd below hd in mm": ({"asd_mm", "hd_mm"}, True, partial(curves.distance_below_largest, unit="mm")),
    "p of n": ({"p", "n", "test"}, True, p_of_n),
    "auc-roc of dice": ({"auc_roc", "dice", "prevalence"}, True, curves.auc_roc_of_dice),
    "auc-pr of auc-roc": ({"auc_roc", "auc_pr"}, True, curves.auc_pr_of_auc_roc),
}
