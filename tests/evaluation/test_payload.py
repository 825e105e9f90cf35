"""What a report draws: from a tally of pixels whose numbers are known, as data that JSON can hold."""

import dataclasses
import json
import math

import numpy as np
import pytest
from planted import record, says

from fetal_jax.evaluation.evaluator import assess
from fetal_jax.evaluation.paired_selection import choose
from fetal_jax.evaluation.payload import number, of_choice, of_scores, plain

CLASSES = ("background", "csp", "lv")


def details(records, sure=1.0):
    return of_scores(assess(says(3, sure), records, CLASSES))


def test_the_confusion_is_in_pixels_by_reference():
    found = details(
        [record("S0_a", [[0, 0, 1, 2]], [[0, 1, 1, 2]]), record("S1_a", [[2, 2], [0, 1]], [[1, 2], [0, 1]])]
    )
    assert found["confusion"] == {
        "classes": ["background", "csp", "lv"],
        "pixels": [[2, 1, 0], [0, 2, 0], [0, 1, 2]],
    }
    assert found["overall"]["pixel_accuracy"] == 6 / 8
    assert found["overall"]["macro"]["jaccard"] == pytest.approx((2 / 4 + 2 / 3) / 2)
    assert found["overall"]["classes"]["lv"]["recall"] == pytest.approx(2 / 3)


def test_a_network_that_is_right_has_the_best_curves():
    curves = details([record("S0_a", [[0, 0, 1, 2]])])["curves"]
    assert set(curves) == {"csp", "lv"}
    assert [curves["csp"][kind]["auc"] for kind in ("roc", "pr")] == [1, 1]
    assert (curves["csp"]["roc"]["x"][0], curves["csp"]["roc"]["y"][-1]) == (0, 1)


def test_the_area_under_a_curve_of_two_steps():
    """Of four pixels one is the structure; it and another one are called so."""
    curves = details([record("S0_a", [[0, 0, 0, 1]], [[0, 0, 1, 1]])])["curves"]
    assert curves["csp"]["roc"]["auc"] == pytest.approx((1 + 2 / 3) / 2)
    assert curves["csp"]["pr"]["auc"] == pytest.approx(1 / 2)


def test_a_structure_that_is_nowhere_has_no_curve():
    curves = details([record("S0_a", [[0, 0, 1, 1]])])["curves"]
    assert curves["lv"] == {kind: {"x": [], "y": [], "auc": None} for kind in ("roc", "pr")}


def test_a_network_that_is_surer_than_right_is_off_by_the_difference():
    found = details([record("S0_a", [[0, 0, 0, 1]], [[0, 0, 1, 1]])], sure=0.9)["calibration"]
    assert found["ece"] == pytest.approx(0.9 - 0.75, abs=1e-4)
    right, wrong = (0.1**2 + 2 * 0.05**2) / 2, (0.9**2 + 0.95**2 + 0.05**2) / 2
    assert found["brier"] == pytest.approx((3 * right + wrong) / 4, abs=1e-4)
    filled = [row for row in found["bins"] if row["share"]]
    assert len(found["bins"]) == 15
    assert [(row["accuracy"], row["share"]) for row in filled] == [(0.75, 1)]
    assert filled[0]["confidence"] == pytest.approx(0.9, abs=1e-4)
    assert found["bins"][0] == {"confidence": None, "accuracy": None, "share": 0}


def test_all_of_it_is_json():
    found = details([record("S0_a", [[0, 0, 1, 1]])])
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_a_choice_is_told_with_what_it_was_chosen_from():
    base = np.linspace(0.7, 0.9, 8)
    told = of_choice(choose({"none": base, "flips": base + 0.01}, [f"S{i}" for i in range(8)], "none"))
    assert told["chosen"] == "flips"
    assert told["candidates"][0] == {"name": "none", "mean": pytest.approx(0.8), "difference": 0, "p": None}
    assert told["candidates"][1]["p"] == pytest.approx(2 / 2**8)
    assert "better than none" in told["reason"]
    json.dumps(told, allow_nan=False)


@dataclasses.dataclass
class Pair:
    low: float
    parts: tuple


def test_data_for_json_has_no_nan_and_no_arrays():
    values = {"a": np.array([[1, 2]]), "b": (np.float32(0.5), math.nan, -math.inf), "c": Pair(math.inf, (1, "x", None))}
    assert plain(values) == {"a": [[1, 2]], "b": [0.5, None, None], "c": {"low": None, "parts": [1, "x", None]}}
    assert plain(np.array([np.nan, 1.0])) == [None, 1.0]
    assert [number(value) for value in (0.5, math.nan, math.inf)] == [0.5, None, None]
