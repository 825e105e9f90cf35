"""What test images say beyond their scores: by hand, for sizes that are known."""

import csv
import dataclasses
import json
import math

import numpy as np
import pytest
from planted import evaluated, record, says

from fetal_jax.biometry.conformal import Calibration
from fetal_jax.evaluation import findings
from fetal_jax.evaluation.evaluator import evaluate_records
from fetal_jax.evaluation.protocol import LabellingResult, stage_before_labelling
from fetal_jax.evaluation.results import to_json
from fetal_jax.evaluation.scores import score
from fetal_jax.statistics.paired import paired

CLASSES = ("background", "csp", "lv")


def sizes(**columns):
    """A row an image, of columns of predicted and reference sizes in mm."""
    predicted, reference = zip(*columns.values(), strict=True)
    return [
        [dict(zip(columns, row, strict=True)) for row in zip(*side, strict=True)] for side in (predicted, reference)
    ]


def heads(predicted, reference, subjects=None):
    names = [f"{subject}_{i}" for i, subject in enumerate(subjects or [f"S{i}" for i in range(len(predicted))])]
    return evaluated(names, sizes=sizes(hc_mm=(predicted, reference)))


def of_hc(test, calibration=None):
    return findings.biometry_result(test, calibration or {}).measures["hc_mm"]


def test_agreement_is_of_the_means_of_each_subject():
    found = of_hc(heads([101.0, 103, 200, 298], [100.0, 100, 200, 300], ["S0", "S0", "S1", "S2"]))
    assert (found.n, found.n_missing) == (3, 0)
    assert found.difference == (
        2,
        0,
        -2,
    )
    assert found.reference == (
        100,
        200,
        300,
    )
    assert (found.bias, found.sd, found.mad) == (0, 2, pytest.approx(4 / 3))
    assert (found.low, found.high) == (pytest.approx(-1.959964 * 2), pytest.approx(1.959964 * 2))
    assert (found.title, found.unit) == ("Head circumference", "mm")


def test_a_head_that_is_not_found_is_counted_and_its_subject_is_paired_without_it():
    found = of_hc(heads([101.0, math.nan, math.nan, 298], [100.0, 180, 200, 300], ["S0", "S0", "S1", "S2"]))
    assert (found.n, found.n_missing) == (2, 2)
    assert found.difference == (
        1,
        -2,
    )  # not 101 less the mean of 100 and 180


def test_a_false_positive_size_is_paired_with_nothing():
    found = of_hc(heads([101.0, 50, 70], [100.0, math.nan, math.nan], ["S0", "S0", "S1"]))
    assert (found.n, found.n_missing, found.difference) == (1, 0, (1,))
    assert np.isnan([found.sd, found.low]).all()


def test_sizes_that_no_reference_has_are_left_out():
    nothing = [math.nan] * 2
    test = evaluated(["S0_a", "S1_a"], sizes=sizes(hc_mm=([1.0, 2], [1.0, 3]), tcd_mm=([5.0, 5], nothing)))
    assert set(findings.biometry_result(test, {}).measures) == {"hc_mm"}
    assert findings.size_calibrations(evaluated(["S0_a"], sizes=sizes(tcd_mm=([5.0], [math.nan])))) == {}


def test_nine_validation_subjects_give_an_interval_of_the_largest_of_their_errors():
    errors = [-0.5, 1, -1.5, 2, -2.5, 3, -3.5, 4, -4.5]
    calibration = findings.size_calibrations(heads([100 + e for e in errors], [100.0] * 9))["hc_mm"]
    assert (calibration.half_width, calibration.n, calibration.level) == (4.5, 9, 0.9)
    of_eight = findings.size_calibrations(heads([100 + e for e in errors[:8]], [100.0] * 8))["hc_mm"]
    assert math.isinf(of_eight.half_width)


def test_of_nineteen_subjects_one_may_be_further_off_and_all_images_of_one_count_once():
    errors, subjects = [*range(1, 20), 0.1, 0.2], [*(f"S{i}" for i in range(19)), "S0", "S18"]
    calibration = findings.size_calibrations(heads([200.0 + e for e in errors], [200.0] * 21, subjects))["hc_mm"]
    assert (calibration.half_width, calibration.n) == (18, 19)


def test_coverage_is_of_subjects_all_of_whose_images_lie_inside():
    test = heads([101.0, 104, 198, 303, math.nan], [100.0, 100, 200, 300, 100], ["S0", "S0", "S1", "S2", "S3"])
    found = of_hc(test, {"hc_mm": Calibration(3.0, 0.9, 12, 0)})
    assert (found.half_width, found.n_calibration, found.coverage) == (3, 12, pytest.approx(2 / 3))
    unknown = of_hc(test, {"hc_mm": Calibration(math.inf, 0.9, 5, 0, "too few")})
    assert (unknown.half_width, unknown.n_calibration) == (math.inf, 5)
    assert math.isnan(unknown.coverage)
    assert math.isnan(of_hc(test).half_width)


def graded(dice, subjects=None):
    """Images of which so many of ten pixels are found, and nothing else."""
    for i, found in enumerate(dice):
        labels, answer = np.zeros((2, 4, 10), np.uint8)
        labels[1], answer[1, :found] = 1, 1
        yield record(f"S{i}_a" if subjects is None else f"{subjects[i]}_{i}", labels, answer)


def test_the_gain_of_a_stage_is_that_of_a_paired_test():
    before, after = (score(says(2), graded(found), CLASSES[:2]) for found in ([5, 6, 7, 8, 4], [7, 9, 8, 10, 9]))
    found = findings.gain_result({"one": before, "two": after}, "one", "two")
    test = paired(before.dice(), after.dice(), before.subjects)
    assert (found.n, found.difference, found.wilcoxon_p) == (5, pytest.approx(test.difference), 0.0625)
    assert found.low < found.difference < found.high
    assert "n = 5 cannot reach p < 0.05" in found.verdict
    assert (found.before, found.after) == ("one", "two")
    json.dumps(to_json(found), allow_nan=False)


@pytest.mark.parametrize(
    ("stages", "labelling", "before"),
    [
        (["decoder", "fine_tune", "retrain"], ["retrain"], "fine_tune"),
        (["decoder", "retrain", "retrain_2"], ["retrain", "retrain_2"], "decoder"),
        (["decoder", "fine_tune"], ["retrain"], None),  # it has labelled, but not trained to its end
        (["retrain"], ["retrain"], None),
        (["supervised"], [], None),
    ],
)
def test_unlabelled_images_are_to_improve_on_the_stage_before_the_first_labelling(stages, labelling, before):
    assert stage_before_labelling(stages, [LabellingResult(name, "", {}, 1, 1, ()) for name in labelling]) == before


def uncertain(dice, expected):
    test = evaluate_records(says(2), graded(dice), CLASSES[:2])
    return findings.uncertainty_result(dataclasses.replace(test, expected_dice=np.array(expected, float)[:, None]))


def test_a_network_that_knows_where_it_fails_saves_all_that_can_be_saved():
    found = uncertain([10, 8, 5, 2], [0.95, 0.9, 0.7, 0.5])
    risks = [1 - 2 * tp / (tp + 10) for tp in (10, 8, 5, 2)]
    np.testing.assert_allclose(found.curve.risk, np.cumsum(risks) / [1, 2, 3, 4])
    assert found.curve.coverage.tolist() == [0.25, 0.5, 0.75, 1]
    assert (found.curve.normalised_gain, found.correlation, found.curve.n_undefined) == (
        pytest.approx(1),
        pytest.approx(1),
        0,
    )
    assert found.curve.aurc == found.curve.oracle < found.curve.random == pytest.approx(np.mean(risks))


def test_one_that_errs_about_itself_is_worse_than_chance():
    found = uncertain([2, 5, 8, 10], [0.95, 0.9, 0.7, 0.5])
    assert found.curve.normalised_gain < 0
    assert found.correlation == pytest.approx(-1)


def test_uncertainty_without_spread_or_images_says_nothing():
    assert math.isnan(uncertain([5, 5, 5], [0.9, 0.8, 0.7]).correlation)
    nothing = np.zeros((4, 10), np.uint8)
    empty = [record(f"E{i}_a", nothing, nothing) for i in range(2)]  # no structure, and none found
    assert findings.uncertainty_result(evaluate_records(says(2), [*graded([5]), *empty], CLASSES[:2])) is None
    found = findings.uncertainty_result(evaluate_records(says(2), [*graded([5, 8]), *empty], CLASSES[:2]))
    assert (found.curve.n_undefined, len(found.curve.risk)) == (2, 2)


def test_an_image_in_which_nothing_is_found_is_the_first_to_be_referred():
    found = findings.uncertainty_result(evaluate_records(says(2), graded([0, 8, 10]), CLASSES[:2]))
    assert (found.curve.risk[-1], found.curve.n_undefined) == (pytest.approx((1 + 2 / 18 + 0) / 3), 0)
    assert found.curve.risk[-2] == pytest.approx((2 / 18 + 0) / 2)


def test_uncertainty_is_of_the_answers_as_they_are_predicted():
    cleaned = evaluate_records(says(2), graded([5, 8]), CLASSES[:2], lambda labels: np.ones_like(labels))
    assert findings.uncertainty_result(cleaned).curve.risk == pytest.approx([1 - 2 * 10 / 50] * 2)


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_tables_have_a_row_an_image_and_structure(tmp_path):
    labels, answer = np.zeros((2, 20, 30), np.uint8)
    labels[4:10, 5:15], answer[4:10, 8:18], answer[12:16, 3:6] = 1, 1, 2
    records = [record("S0_a", labels, answer, spacing_mm=0.5), record("S1_a", labels, answer)]
    findings.write_tables(tmp_path, evaluate_records(says(3), records, CLASSES))
    rows = rows_of(tmp_path / "features.csv")
    assert [(row["name"], row["structure"]) for row in rows] == [
        (name, structure) for name in ("S0_a", "S1_a") for structure in ("head", "csp", "lv")
    ]
    csp = rows[1]
    assert [csp[key] for key in ("subject", "area_px", "area_mm2", "parts")] == ["S0", "60", "15", "1"]
    assert [csp[key] for key in ("first_row", "first_column", "end_row", "end_column")] == ["4", "8", "10", "18"]
    assert [csp[key] for key in ("centroid_row", "centroid_column", "orientation_deg")] == ["6.5", "12.5", "0"]
    assert float(csp["eccentricity"]) == pytest.approx(math.sqrt(1 - (6**2 - 1) / (10**2 - 1)), rel=1e-2)
    assert float(csp["mismatch"]) == (18 + 18) / 60
    assert rows[2]["mismatch"] == ""  # the reference has no LV
    assert (rows[0]["area_px"], rows[0]["first_row"], rows[0]["mismatch"]) == ("0", "", "")
    assert rows[4]["area_mm2"] == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["biometry.csv", "features.csv"]


def test_sizes_stand_beside_those_of_the_reference(tmp_path):
    rows, columns = np.mgrid[:100, :120]
    disc = [((rows - 50) ** 2 + (columns - 60) ** 2 <= radius**2).astype(np.uint8) for radius in (30, 36)]
    records = [record("S0_a", *disc, spacing_mm=0.5), record("S1_a", disc[0], disc[0] * 0, spacing_mm=0.5)]
    findings.write_tables(tmp_path, evaluate_records(says(2), records, ("background", "head")))
    found = rows_of(tmp_path / "biometry.csv")
    assert float(found[0]["hc_mm"]) == pytest.approx(36 * np.pi, rel=0.01)
    assert float(found[0]["hc_mm_of_reference"]) == pytest.approx(30 * np.pi, rel=0.01)
    assert (found[1]["name"], found[1]["subject"], found[1]["hc_mm"]) == ("S1_a", "S1", "")


def test_volumes_have_no_tables(tmp_path):
    volume = np.ones((3, 4, 5), np.uint8)
    findings.write_tables(tmp_path, evaluate_records(says(2), [record("S0", volume)], ("background", "wm")))
    assert list(tmp_path.iterdir()) == []
