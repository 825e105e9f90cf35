"""OOD detector and normative model in one file beside the network: scores where it may, refuses where it must."""

import dataclasses
import math

import numpy as np
import pytest

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import NormativeModel
from fetal_jax.anomaly.ood import OODDetector, image_statistics
from fetal_jax.core.types import UserError
from input_pipeline.builders.fetal_phantom import anatomy
from input_pipeline.builders.fetal_phantom.builder import FetalPhantom, examples

SCANS = dataclasses.replace(FetalPhantom.builder_configs["tiny"], n_subjects=12, frames_per_subject=2, seed=9)


@pytest.fixture(scope="module")
def scans():
    """(image, probabilities, spacing_mm, age), as by a network that is sure and right."""
    answers = np.eye(len(anatomy.CLASSES), dtype=np.float32)
    return [(e["image"], answers[e["labels"]], e["spacing_mm"], float(e["ga_weeks"])) for e in examples(SCANS)]


@pytest.fixture(scope="module")
def detector(normals, scans):
    vectors, ages, subjects, planes = zip(*map(dataclasses.astuple, normals), strict=True)
    seen = [image_statistics(image, probs) for image, probs, *_ in scans]
    ood = OODDetector.fit(seen, [f"S{i // 2}" for i in range(len(seen))], false_alarm=0.05)
    return Detector(anatomy.CLASSES, ood, NormativeModel.fit(vectors, ages, subjects, planes))


@pytest.mark.slow
def test_a_scan_is_scored_from_what_the_network_says(detector, scans):
    image, probs, spacing_mm, age = scans[0]
    normal = detector(image, probs, spacing_mm, age=age)
    assert normal.score < 4
    assert normal.plane == anatomy.TRANS_CEREBELLUM
    without = probs.copy()
    without[..., anatomy.CLASSES.index("brain")] += 2 * without[..., anatomy.CLASSES.index("csp")]
    without /= without.sum(-1, keepdims=True)
    absent = detector(image, without, spacing_mm, age=age)
    assert absent.score > 4
    assert "csp" in absent.most_deviant


@pytest.mark.slow
def test_another_image_is_not_scored(detector, scans):
    image, probs, spacing_mm, age = scans[0]
    score = detector(255 - image, probs, spacing_mm, age=age)
    assert math.isnan(score.score)
    assert score.words.startswith("not scored: the image is unlike the training images")


def test_what_is_saved_is_what_is_loaded(detector, tmp_path):
    detector.save(tmp_path / "anomaly.json")
    assert Detector.load(tmp_path / "anomaly.json") == detector
    assert [path.name for path in tmp_path.iterdir()] == ["anomaly.json"]


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"classes": [], "gate": {}, "normative": {}}'])
def test_a_wrong_file_is_refused(tmp_path, text):
    (tmp_path / "anomaly.json").write_text(text)
    with pytest.raises(UserError, match=r"anomaly.json:? is not an anomaly detector.*: copy it again"):
        Detector.load(tmp_path / "anomaly.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"anomaly.json is missing: fit an anomaly detector first"):
        Detector.load(tmp_path / "anomaly.json")
