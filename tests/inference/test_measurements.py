"""What is measured on a predicted mask, in the row of its image: known sizes, their intervals, ages and deviations."""

import dataclasses
import math

import cv2
import numpy as np
import pytest

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.features import describe
from fetal_jax.anomaly.normative import NormativeModel
from fetal_jax.anomaly.ood import OODDetector, image_statistics
from fetal_jax.biometry.dating import gestational_age
from fetal_jax.biometry.measures import MEASURES
from fetal_jax.core.types import UserError
from fetal_jax.inference.measurements import DETECTOR, AnomalyReference, measurements, read_detector
from fetal_jax.inference.segmenter import segmentation

SPACING = (0.5, 0.5)


def brain(lv=10, seed=0):
    """A brain of 200 x 160 pixels with a round ventricle of that radius."""
    labels, (rows, columns) = np.zeros((220, 260), np.uint8), np.mgrid[:220, :260]
    cv2.ellipse(labels, (130, 110), (100 + seed % 3, 80), 0, 0, 360, 1, -1)
    labels[np.hypot(rows - 110, columns - 98 - seed % 4) <= lv] = 3
    return labels


def measured(card, labels, spacing_mm=SPACING, **others):
    answer = segmentation(np.eye(4, dtype=np.float32)[labels], card.facts.classes, spacing_mm)
    return measurements("head", grey(labels), answer, card, spacing_mm, **others)


def grey(labels):
    return (labels * 60).astype(np.uint8)


@pytest.fixture(scope="module")
def by_age():
    """Normals whose ventricle has a radius of 9 to 11 pixels."""
    classes, subjects = ("background", "brain", "csp", "lv"), [f"N{i}" for i in range(15)]
    vectors = [describe(brain(9 + i % 3, i), classes, SPACING) for i in range(15)]
    model = NormativeModel.fit(vectors, [20.0 + i % 5 for i in range(15)], subjects)
    return Detector(classes, open_gate(9.0), model)


def open_gate(threshold):
    """It knows nothing but the share of black pixels."""
    return OODDetector({"grey_0": 0.7}, {"grey_0": 0.1}, ((1.0,),), threshold, 0.05)


def test_sizes_are_in_mm_with_the_intervals_of_the_card(brain_card):
    card = dataclasses.replace(brain_card, intervals_mm={"hc_mm": 4.0, "lv_mm": 0.5})
    row = measured(card, brain())
    a, b = 100.5 * 0.5, 80.5 * 0.5  # outer edges of pixels
    hc = math.pi * (3 * (a + b) - math.sqrt((3 * a + b) * (a + 3 * b)))  # Ramanujan
    assert float(row["hc_mm"]) == pytest.approx(hc, rel=0.002)
    assert float(row["hc_mm_low"]) == pytest.approx(float(row["hc_mm"]) - 4, abs=0.06)
    assert float(row["hc_mm_high"]) == pytest.approx(float(row["hc_mm"]) + 4, abs=0.06)
    assert float(row["lv_mm"]) == pytest.approx(20 * 0.5, rel=0.05)
    assert row["lv_mm_high"]
    assert "ofd_mm_low" not in row
    assert (row["csp_mm"], row["tcd_mm"], row["name"], row["spacing_mm"]) == ("", "", "head", "0.5 0.5")


def test_the_age_is_that_of_the_charts_with_their_own_interval(brain_card):
    row = measured(brain_card, brain())
    for chart, age in gestational_age(hc_mm=float(row["hc_mm"])).items():
        told = [row[f"{chart}_{key}"] for key in ("weeks", "weeks_low", "weeks_high")]
        if chart.startswith("tcd"):
            assert told == ["", "", ""]
        else:
            np.testing.assert_allclose([float(weeks) for weeks in told], [age.weeks, age.low, age.high], rtol=1e-3)
            assert 30 < age.weeks < 36


def test_without_a_spacing_nothing_is_in_mm(brain_card):
    card = dataclasses.replace(brain_card, intervals_mm={"hc_mm": 4.0})
    row = measured(card, brain(), None)
    assert row["spacing_mm"] == ""
    assert {row[key] for key in row if "mm" in key or "weeks" in key} == {""}
    assert float(row["cephalic_index"]) == pytest.approx(0.8, abs=0.01)


def test_every_image_has_the_same_columns(brain_card, by_age):
    card = dataclasses.replace(brain_card, intervals_mm={"hc_mm": 4.0})
    rows = [
        measured(card, brain()),
        measured(card, np.zeros((50, 60), np.uint8)),
        measured(card, brain(), None),
        measured(card, brain(), reference=AnomalyReference(by_age, 21.0)),
    ]
    assert all(list(row) == list(rows[0]) for row in rows)
    assert set(MEASURES) < set(rows[0])
    assert {rows[1][key] for key in MEASURES} == {""}


def test_an_anomaly_is_scored_at_its_age(brain_card, by_age):
    normal = measured(brain_card, brain(10, 3), reference=AnomalyReference(by_age, 21.0))
    large = measured(brain_card, brain(22, 3), reference=AnomalyReference(by_age, 21.0))
    assert float(normal["anomaly_score"]) < 4 < float(large["anomaly_score"])
    assert float(large["anomaly_p"]) == pytest.approx(1 / 16, rel=1e-3)  # of fifteen normals none scores as high
    assert "lv" in large["anomaly"]
    assert "SD above normal" in large["anomaly"]


def test_an_image_unlike_the_training_is_not_scored(brain_card, by_age):
    shut = dataclasses.replace(by_age, ood=open_gate(0.01))
    row = measured(brain_card, brain(22, 3), reference=AnomalyReference(shut, 21.0))
    assert (row["anomaly_score"], row["anomaly_p"]) == ("", "")
    assert row["anomaly"].startswith("not scored: the image is unlike the training images")
    answer = segmentation(np.eye(4, dtype=np.float32)[brain()], brain_card.facts.classes, SPACING)
    assert image_statistics(grey(brain()), answer.probs)["grey_0"] == pytest.approx(0.75, abs=0.05)  # what it was asked


def test_why_nothing_is_scored_is_said(brain_card, by_age):
    missing = measured(brain_card, brain())
    told = ["", "", "nothing is known of what is normal"]
    assert [missing[key] for key in ("anomaly_score", "anomaly_p", "anomaly")] == told
    assert measured(brain_card, brain(), reference=AnomalyReference(by_age))["anomaly"] == "needs --ga-weeks"


def test_no_size_is_below_zero(brain_card):
    row = measured(dataclasses.replace(brain_card, intervals_mm={"lv_mm": 50.0}), brain())
    assert (float(row["lv_mm_low"]), float(row["lv_mm_high"])) == (0, pytest.approx(60, abs=0.5))


def test_what_is_normal_is_read_beside_the_weights(tmp_path, by_age):
    assert read_detector(tmp_path) is None
    (tmp_path / "model").mkdir()
    by_age.save(tmp_path / "model" / DETECTOR)
    assert read_detector(tmp_path) == read_detector(tmp_path / "model") == by_age


@pytest.mark.parametrize("text", ["{", "[]", "null", "{}", '{"gate": 1, "normative": []}', "\udcff"])
def test_a_damaged_one_is_named(tmp_path, text):
    (tmp_path / DETECTOR).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=rf"{DETECTOR}: is not an anomaly detector.* \(.*\): copy it again") as caught:
        read_detector(tmp_path)
    assert "\n" not in str(caught.value)
