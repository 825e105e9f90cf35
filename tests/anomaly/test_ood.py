"""Scans of the phantom pass; what is no such scan does not."""

import dataclasses
import json
import math

import cv2
import numpy as np
import pytest

from fetal_jax.anomaly.ood import OODDetector, image_features, image_statistics, prediction_features
from fetal_jax.core.types import UserError
from input_pipeline.builders.fetal_phantom.builder import FetalPhantom, examples

SCANS = dataclasses.replace(
    FetalPhantom.builder_configs["tiny"], n_subjects=24, frames_per_subject=2, height=96, width=96, seed=5
)


def sure(labels):
    """The answer of a network that is right, and unsure at borders."""
    soft = cv2.GaussianBlur(np.eye(6, dtype=np.float32)[labels], (0, 0), 1.0)
    return soft / soft.sum(-1, keepdims=True)


@pytest.fixture(scope="module")
def scans():
    """(image, answer, subject) of 24 subjects."""
    return [(e["image"], sure(e["labels"]), e["subject"]) for e in examples(SCANS)]


@pytest.fixture(scope="module")
def detector(scans):
    """Of the first 18 subjects."""
    known = scans[:36]
    return OODDetector.fit(
        [image_statistics(image, probs) for image, probs, _ in known], [s for *_, s in known], false_alarm=0.1
    )


@pytest.mark.slow
def test_other_scans_of_the_same_kind_pass(detector, scans):
    verdicts = [detector(image_statistics(image, probs)) for image, probs, _ in scans[36:]]
    assert np.mean([verdict.inside for verdict in verdicts]) >= 0.75
    assert all(verdict.words.startswith("distance") for verdict in verdicts if verdict.inside)


# The answer is kept as it is: the look of the image alone gives these away.
@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    [
        lambda image: np.random.default_rng(0).integers(0, 256, image.shape, np.uint8),
        np.zeros_like,
        lambda image: np.full_like(image, 128),
        lambda image: 255 - image,
        lambda image: np.ascontiguousarray(np.rot90(image)),
        lambda image: np.hstack([image, image]),
    ],
    ids=["noise", "black", "grey", "inverted", "turned", "two scans in one"],
)
def test_other_images_do_not(detector, scans, harm):
    for image, probs, _ in scans[36:42]:
        verdict = detector(image_features(harm(image)) | prediction_features(probs))
        assert not verdict.inside
        assert verdict.words.startswith("the image is unlike the training images (distance")


def test_an_answer_without_a_clue_does_not_pass(detector, scans):
    image, probs, _ = scans[36]
    assert not detector(image_statistics(image, np.full_like(probs, 1 / 6))).inside


def test_a_number_that_is_not_finite_does_not_pass(detector, scans):
    image, probs, _ = scans[36]
    verdict = detector(image_statistics(image, probs) | {"entropy": math.nan})
    assert not verdict.inside
    assert verdict.words.endswith("most of all its entropy")


def test_numbers_of_an_answer_by_hand():
    probs = np.array([[[0.25, 0.75], [1.0, 0.0]], [[0.75, 0.25], [0.0, 1.0]]])
    found = prediction_features(probs)
    half = -(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75))
    assert found["entropy"] == pytest.approx(2 * half / 4)
    assert found["expected_dice"] == pytest.approx(2 * 1.75 / (2 + 2.0))
    assert found["foreground"] == 0.5
    assert prediction_features(np.eye(2)[[[0, 0]]])["expected_dice"] == 0


def test_numbers_of_an_image_do_not_depend_on_its_resolution(scans):
    image = scans[0][0]
    large = image_features(cv2.resize(image, None, fx=4, fy=4, interpolation=cv2.INTER_NEAREST))
    for name, value in image_features(image).items():
        assert large[name] == pytest.approx(value, abs=0.12), name


def test_stripes_have_a_direction():
    stripes = np.tile(np.repeat(np.array([40, 200], np.uint8), 8), (64, 4))
    assert image_features(stripes)["direction"] > 2
    assert image_features(np.ascontiguousarray(stripes.T))["direction"] < -2


def vectors(n, seed=0):
    return [{"a": x, "b": y} for x, y in np.random.default_rng(seed).standard_normal((n, 2))]


def test_false_alarms_are_as_frequent_as_promised():
    subjects = [str(i // 2) for i in range(600)]
    detector = OODDetector.fit(vectors(600), subjects, false_alarm=0.1)
    alarms = np.mean([not detector(vector).inside for vector in vectors(4000, seed=1)])
    assert alarms == pytest.approx(0.1, abs=0.02)


def test_the_distance_is_in_standard_deviations():
    detector = OODDetector.fit(vectors(2000), [str(i % 50) for i in range(2000)])
    assert detector.distance({"a": 3.0, "b": -4.0}) == pytest.approx(5, rel=0.05)


def test_a_threshold_from_images_that_the_network_has_not_seen():
    detector = OODDetector.fit(vectors(100), [str(i) for i in range(100)], false_alarm=0.05)
    others = [{"a": 0.0, "b": float(i)} for i in range(19)]
    assert detector.calibrated(others).threshold == detector.distance(others[-1])
    with pytest.raises(
        UserError,
        match=r"18 images are too few for an out-of-distribution detector with 5.0% false alarms: give at least 19",
    ):
        detector.calibrated(others[:18])


def test_too_few_subjects_are_refused():
    with pytest.raises(UserError, match="4 subjects are too few for an out-of-distribution detector: give at least 5"):
        OODDetector.fit(vectors(40), [str(i % 4) for i in range(40)])


def test_json_holds_it(detector):
    assert OODDetector.from_dict(json.loads(json.dumps(detector.to_dict()))) == detector
