"""Published numbers: what cannot be is told, by hand-computed bounds; what can be never is, by simulation."""

import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from simulated_tables import draw_table

from fetal_jax.statistics.consistency import check_row
from fetal_jax.statistics.consistency_overlap import prevalence, spread_bounds
from fetal_jax.statistics.consistency_tables import check_rows
from fetal_jax.statistics.published import Gain, Number, Row, read_number

PIXELS = st.integers(1, 10**6)
UNIT = st.floats(0.001, 0.999)


def row(averaging="unknown", method="ours", table="Table 1", spreads=None, **values):
    """A row; `n`, `p`, `test` and sizes may be among the values, metrics are text."""
    about = {k: values.pop(k) for k in ("n", "p", "test", "prevalence_max", "area_px", "size_px") if k in values}
    numbers = {name: read_number(text) for name, text in values.items()}
    sds = {name: read_number(text) for name, text in (spreads or {}).items()}
    return Row("a paper", table, method, "head", numbers, sds, averaging=averaging, **about)


def rules(*rows, gains=()):
    return {f.rule for r in rows for f in check_row(r)} | {f.rule for f in check_rows(rows, gains)}


def test_a_printed_number_is_an_interval_of_half_its_last_digit():
    number = read_number("97.80", 0.01)
    assert (number.low, number.high) == pytest.approx((0.97795, 0.97805), abs=1e-9)
    assert number.printed(0.9) == "90.0000"
    assert read_number("1").high == pytest.approx(1.5)
    with pytest.raises(ValueError, match="'1e3' is not a plain decimal number"):
        read_number("1e3")


@pytest.mark.parametrize(
    ("averaging", "dice", "fault"),
    [
        ("pooled", "0.6850", True),  # 2 * 0.6 * 0.8 / 1.4 = 0.68571 to four digits
        ("pooled", "0.6857", False),
        ("pooled", "0.6870", True),
        ("per_image", "0.6870", True),  # concave: the mean is at most that of the means
        ("per_image", "0.6857", False),
        ("per_image", "0.4001", False),
        ("per_image", "0.3980", True),  # at least 0.6 + 0.8 - 1
    ],
)
def test_dice_against_precision_and_recall(averaging, dice, fault):
    found = rules(row(averaging, precision="0.6000", recall="0.8000", dice=dice))
    assert found == ({"dice of precision and recall"} if fault else set())


@pytest.mark.parametrize(
    ("averaging", "jaccard", "fault"),
    [
        ("pooled", "0.650", True),  # 0.789 / 1.211 = 0.65153
        ("pooled", "0.652", False),
        ("pooled", "0.653", True),
        ("unknown", "0.650", True),  # convex: the mean is at least that of the mean
        ("unknown", "0.750", False),
        ("unknown", "0.791", True),  # at most Dice
    ],
)
def test_jaccard_against_dice(averaging, jaccard, fault):
    assert rules(row(averaging, dice="0.789", jaccard=jaccard)) == ({"jaccard of dice"} if fault else set())


@pytest.mark.parametrize(
    ("averaging", "jaccard", "fault"),
    [
        ("pooled", "0.522", False),  # 0.48 / (1.4 - 0.48) = 0.52174
        ("pooled", "0.530", True),
        ("per_image", "0.530", False),
        ("per_image", "0.602", True),  # at most the smaller of the two
        ("per_image", "0.398", True),
    ],
)
def test_jaccard_against_precision_and_recall(averaging, jaccard, fault):
    found = rules(row(averaging, precision="0.6000", recall="0.8000", jaccard=jaccard))
    assert found == ({"jaccard of precision and recall"} if fault else set())


def test_no_overlap_is_above_what_accuracy_leaves():
    """One pixel of 10 wrong: J is at most 9/10 and D at most 18/19 = 0.947."""
    assert rules(row(accuracy="0.900", jaccard="0.900", dice="0.947")) == set()
    assert rules(row(accuracy="0.900", jaccard="0.902")) == {"jaccard of accuracy"}
    assert rules(row(accuracy="0.900", dice="0.950")) == {"dice of accuracy"}


def test_accuracy_precision_and_recall_of_pooled_pixels_give_the_prevalence():
    """TP 60, FP 20, FN 40, TN 880."""
    exact = row("pooled", accuracy="0.940", precision="0.750", recall="0.600")
    low, high = prevalence(exact)
    assert low < 0.1 < high
    assert high - low < 0.003
    assert rules(exact) == set()
    impossible = row("pooled", accuracy="0.100", precision="0.750", recall="0.600")
    assert rules(impossible) == {"prevalence of accuracy"}


def test_pooled_rows_of_one_table_are_of_one_prevalence():
    first = row("pooled", "U-Net", accuracy="0.9400", precision="0.7500", recall="0.6000")
    twice = row("pooled", accuracy="0.8800", precision="0.7500", recall="0.6000")
    assert rules(first, twice) == {"one prevalence"}
    assert rules(first, row("pooled", table="Table 2", accuracy="0.8800", precision="0.7500", recall="0.6000")) == set()


def test_dice_spreads_no_further_than_numbers_between_0_and_1_can():
    """Mean 0.9: at most sqrt(0.9 * 0.1) = 0.3, and sqrt(10/9) times that in a sample of 10."""
    assert rules(row(dice="0.900", n=10, spreads={"dice": "0.316"})) == set()
    assert rules(row(dice="0.900", n=10, spreads={"dice": "0.320"})) == {"spread of dice"}


def test_dice_and_jaccard_give_the_spread_of_dice():
    """Dice 0.6 and 1, half each: mean 0.8, SD 0.2, J (3/7 + 1) / 2 = 0.714286, the most for this mean and SD."""
    low, high = spread_bounds(read_number("0.80000000"), read_number("0.71428571"))
    assert low == pytest.approx(0.2, abs=1e-6)
    assert high > 0.2
    # Dice 0 and 0.9, a ninth and the rest: mean 0.8, variance 0.08, J 8/9 * 0.9 / 1.1, the least for them.
    low, high = spread_bounds(read_number("0.80000000"), read_number("0.72727273"))
    assert high == pytest.approx(np.sqrt(0.08), abs=1e-6)
    assert low < high
    assert rules(row(dice="0.800", jaccard="0.714", n=200, spreads={"dice": "0.220"})) == set()
    assert rules(row(dice="0.800", jaccard="0.714", n=200, spreads={"dice": "0.010"})) == {"spread of dice and jaccard"}


def test_asd_against_dice():
    """A disc of radius 200: Dice 0.993 is off by 1.4 px all round."""
    about = {"area_px": 125664.0, "size_px": (540.0, 800.0)}
    assert rules(row(dice="0.993", asd_px="1.4", **about)) == set()
    assert rules(row(dice="0.993", asd_px="13.2", **about)) == {"distance of dice"}
    assert rules(row(dice="0.70", asd_px="130.2", **about)) == set()


def test_asd_is_below_the_hausdorff_distance():
    assert rules(row(asd_px="13.2", hd_px="38.0", asd_mm="2.0", hd_mm="2.0")) == set()
    assert rules(row(asd_px="39.1", hd_px="38.0")) == {"asd below hd"}
    assert rules(row(asd_mm="2.2", hd_mm="2.0")) == {"asd below hd in mm"}


@pytest.mark.parametrize(
    ("n", "p", "test", "fault"),
    [
        (5, "<0.05", "Wilcoxon signed-rank", True),  # 2 / 2**5 = 0.0625
        (6, "<0.05", "Wilcoxon signed-rank", False),  # 0.03125
        (5, "<0.05", "Wilcoxon, one-sided", False),
        (5, "<0.05", "paired t", False),
        (5, "0.04", "permutation", True),
        (5, "0.06", "permutation", False),  # 0.0625, cut to two digits
        (10, "<0.001", "sign", True),  # 0.00195
        (5, "<0.05", "Wilcoxon rank-sum", False),  # of two groups: 2 / 252
        (4, "<0.05", "permutation, unpaired", False),
    ],
)
def test_p_against_n(n, p, test, fault):
    claim = Number(0.0, float(p[1:]), p) if p.startswith("<") else read_number(p)
    assert rules(row(dice="0.9", n=n, p=claim, test=test)) == ({"p of n"} if fault else set())


@pytest.mark.parametrize("n", [5, 9])
def test_the_least_p_is_that_of_scipy(n):
    least = stats.wilcoxon(np.arange(1.0, n + 1), method="exact").pvalue
    assert rules(row(n=n, p=Number(0.0, least, f"<{least}"), test="wilcoxon")) == {"p of n"}
    assert rules(row(n=n, p=Number(0.0, least * 1.01, f"<{least * 1.01}"), test="wilcoxon")) == set()


def test_areas_under_curves_against_dice_and_each_other():
    head = {"dice": "0.993", "prevalence_max": 0.6}
    assert rules(row(auc_roc="0.896", **head)) == {"auc-roc of dice"}
    assert rules(row(auc_roc="0.990", **head)) == set()
    assert rules(row(auc_roc="0.896", auc_pr="0.998")) == {"auc-pr of auc-roc"}
    assert rules(row(auc_roc="0.996", auc_pr="0.998")) == set()


@given(tpr=UNIT, fpr=UNIT, share=UNIT)
def test_the_area_under_a_curve_through_a_point_is_never_below_the_bound(tpr, fpr, share):
    jaccard = share * tpr / (share + fpr * (1 - share))
    assert tpr * (1 - fpr) >= (jaccard - share) / (1 - share) - 1e-12


@given(st.lists(UNIT, min_size=2, max_size=8), UNIT)
def test_the_area_under_precision_and_recall_is_never_above_the_bound(steps, share):
    fpr = np.sort(steps)  # a staircase: the false positive rate that each equal share of the positives costs
    recall = np.linspace(0, 1, 2000 * len(steps) + 1)[1:]
    cost = np.repeat(fpr, 2000)
    area = np.mean(share * recall / (share * recall + (1 - share) * cost))
    auc_roc = 1 - fpr.mean()
    assert area <= 1 + (1 - share) / share * np.log1p(-share * (1 - auc_roc)) + 1e-3


def test_one_metric_of_one_method_is_one_number():
    assert rules(row(jaccard="81.76"), row(table="Table 4", jaccard="81.78")) == {"one number"}
    assert rules(row(jaccard="81.76"), row(table="Table 4", jaccard="81.8")) == set()
    assert rules(row("pooled", dice="0.80"), row("per_image", table="Table 4", dice="0.70")) == set()
    assert rules(row(method="", dice="0.80"), row(method="", table="Table 4", dice="0.70")) == set()
    assert rules(row(dice="0.80"), row(dice="0.70")) == set()  # two settings of it, in one table


def test_rows_of_one_table_are_averaged_alike():
    pooled, images = row(method="U-Net", dice="0.8716", jaccard="0.7724"), row(dice="0.8765", jaccard="0.8176")
    assert rules(pooled, images) == {"one way to average"}
    assert rules(images, row(method="other", dice="0.8504", jaccard="0.7617")) == set()
    assert rules(pooled, row(dice="0.8698", jaccard="0.7696")) == set()


def test_pooled_and_mean_scores_that_only_sizes_60_times_apart_reconcile():
    pooled, images = row("pooled", recall="0.930"), row("per_image", table="Table 2", recall="0.181")
    assert rules(pooled, images) == {"averages that agree"}
    assert rules(pooled, row("per_image", table="Table 2", recall="0.700")) == set()


def test_a_mean_is_that_of_its_rows():
    parts = [row(method="A", dice="0.70"), row(method="B", dice="0.80")]
    mean = Row("a paper", "Table 1", "both", "head", {"dice": read_number("0.75")}, mean_of=("A", "B"))
    wrong = Row("a paper", "Table 1", "both", "head", {"dice": read_number("0.77")}, mean_of=("A", "B"))
    assert rules(*parts, mean) == set()
    assert rules(*parts, wrong) == {"mean of its rows"}


def test_a_gain_is_the_difference_of_its_rows():
    rows = [row(method="FCRB", dice="0.8574"), row(dice="0.8765")]

    def claim(gain):
        return Gain("a paper", "Table 1", "ours", "FCRB", "dice", read_number(gain), "head")

    assert rules(*rows, gains=[claim("0.0191")]) == set()
    assert rules(*rows, gains=[claim("0.019")]) == set()
    assert rules(*rows, gains=[claim("0.0119")]) == {"gain between rows"}


def test_a_relative_gain_given_as_points_is_told():
    values = {name: {"dice": read_number(text, 0.01)} for name, text in (("FCRB", "85.74"), ("ours", "87.65"))}
    rows = [Row("a paper", "Table 1", name, "head", numbers) for name, numbers in values.items()]
    gain = Gain("a paper", "Table 1", "ours", "FCRB", "dice", read_number("2.23", 0.01), "head")
    (finding,) = check_rows(rows, [gain])
    assert finding.text.endswith("(it is the relative gain in percent, not one in points)")


@given(st.lists(st.tuples(PIXELS, PIXELS, PIXELS, PIXELS), min_size=1, max_size=6), st.integers(2, 5), st.booleans())
@settings(max_examples=150)
def test_scores_of_any_counts_raise_nothing(counts, digits, pooled):
    tp, fp, fn, tn = np.array(counts, float).T
    if pooled:
        tp, fp, fn, tn = (x.sum(keepdims=True) for x in (tp, fp, fn, tn))
    exact = {
        "accuracy": (tp + tn) / (tp + fp + fn + tn),
        "precision": tp / (tp + fp),
        "recall": tp / (tp + fn),
        "jaccard": tp / (tp + fp + fn),
        "dice": 2 * tp / (2 * tp + fp + fn),
    }
    text = {name: f"{value.mean():.{digits}f}" for name, value in exact.items()}
    spreads = {"dice": f"{exact['dice'].std():.{digits}f}"}
    assert check_row(row("pooled" if pooled else "per_image", spreads={} if pooled else spreads, **text)) == []


def findings(seed):
    rows, gains = draw_table(seed)
    return [f for r in rows for f in check_row(r)] + check_rows(rows, gains)


@pytest.fixture
def types_unchecked(monkeypatch):
    """Nine tenths of the time of so many small functions."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.mark.slow
@pytest.mark.usefixtures("types_unchecked")
def test_a_thousand_simulated_tables_raise_nothing():
    assert [f for seed in range(1000) for f in findings(seed)] == []


@pytest.mark.slow
@given(st.integers(1000, 2**32))
@settings(max_examples=50, deadline=None)
def test_other_simulated_tables_raise_nothing_either(seed):
    assert findings(seed) == []


@pytest.mark.parametrize("metric", ["jaccard", "dice", "precision", "recall"])
def test_a_simulated_table_with_one_number_changed_is_told(metric):
    """The rules see what they are for: of pooled rows to four digits, a change of one hundredth."""
    told = 0
    for seed in range(20):
        rows, _ = draw_table(seed)
        pooled = next(r for r in rows if r.pooled)
        value = pooled.values[metric].middle
        changed = read_number(f"{value - 0.01 if value > 0.5 else value + 0.01:.4f}")
        told += bool(check_row(Row(**{**vars(pooled), "values": {**pooled.values, metric: changed}})))
    assert told > 10
