"""Results over all pixels, whose numbers are known, and results as data that JSON can hold."""

import dataclasses
import math

import numpy as np
import pytest
from planted import record, says

from fetal_jax.evaluation import findings
from fetal_jax.evaluation.evaluator import evaluate_records
from fetal_jax.evaluation.results import to_json

CLASSES = ("background", "csp", "lv")


def pixels(records, sure=1.0):
    return findings.pixel_result(evaluate_records(says(3, sure), records, CLASSES))


def test_the_confusion_is_in_pixels_by_reference():
    test = evaluate_records(
        says(3),
        [record("S0_a", [[0, 0, 1, 2]], [[0, 1, 1, 2]]), record("S1_a", [[2, 2], [0, 1]], [[1, 2], [0, 1]])],
        CLASSES,
    )
    confusion, overall = findings.pixel_result(test).confusion, findings.overall_result(test)
    assert confusion.classes == ("background", "csp", "lv")
    assert confusion.pixels == ((2, 1, 0), (0, 2, 0), (0, 1, 2))
    assert overall.pixel_accuracy == 6 / 8
    assert overall.macro["jaccard"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert overall.classes["lv"]["recall"] == pytest.approx(2 / 3)
    assert findings.pixel_result(test).n_images == 2


def test_a_network_that_is_right_has_the_best_curves():
    curves = pixels([record("S0_a", [[0, 0, 1, 2]])]).curves
    assert set(curves) == {"csp", "lv"}
    assert [curves["csp"].roc.auc, curves["csp"].pr.auc] == [1, 1]
    assert (curves["csp"].roc.x[0], curves["csp"].roc.y[-1]) == (0, 1)


def test_the_area_under_a_curve_of_two_steps():
    """Of four pixels one is the structure; it and another one are called so."""
    curves = pixels([record("S0_a", [[0, 0, 0, 1]], [[0, 0, 1, 1]])]).curves
    assert curves["csp"].roc.auc == pytest.approx((1 + 2 / 3) / 2)
    assert curves["csp"].pr.auc == pytest.approx(1 / 2)


def test_a_structure_that_is_nowhere_has_no_curve():
    curves = pixels([record("S0_a", [[0, 0, 1, 1]])]).curves
    for curve in (curves["lv"].roc, curves["lv"].pr):
        assert (curve.x, curve.y) == ((), ())
        assert math.isnan(curve.auc)


def test_a_network_that_is_surer_than_right_is_off_by_the_difference():
    found = pixels([record("S0_a", [[0, 0, 0, 1]], [[0, 0, 1, 1]])], sure=0.9).calibration
    assert found.ece == pytest.approx(0.9 - 0.75, abs=1e-4)
    right, wrong = (0.1**2 + 2 * 0.05**2) / 2, (0.9**2 + 0.95**2 + 0.05**2) / 2
    assert found.brier == pytest.approx((3 * right + wrong) / 4, abs=1e-4)
    filled = [row for row in found.bins if row.share]
    assert len(found.bins) == 15
    assert [(row.accuracy, row.share) for row in filled] == [(0.75, 1)]
    assert filled[0].confidence == pytest.approx(0.9, abs=1e-4)
    assert to_json(found.bins[0]) == {"confidence": None, "accuracy": None, "share": 0}


@dataclasses.dataclass
class Pair:
    low: float
    parts: tuple


def test_data_for_json_has_no_nan_and_no_arrays():
    values = {"a": np.array([[1, 2]]), "b": (np.float32(0.5), math.nan, -math.inf), "c": Pair(math.inf, (1, "x", None))}
    assert to_json(values) == {"a": [[1, 2]], "b": [0.5, None, None], "c": {"low": None, "parts": [1, "x", None]}}
    assert to_json(np.array([np.nan, 1.0])) == [None, 1.0]
