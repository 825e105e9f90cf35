"""The arithmetic of experiments/anomaly_phantom*.py, on numbers instead of images."""

import dataclasses
import json
import math

import numpy as np
import pytest

from experiments import anomaly_phantom
from experiments import anomaly_phantom_scores as experiment
from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import NormativeModel
from fetal_jax.anomaly.ood import OODDetector
from input_pipeline.splits import PARTS, Splits


def case(subject, anomaly="none", size=0.0, mismatch=0.1, look=0.0):
    rng = np.random.default_rng(ord(subject) if isinstance(subject, str) else subject)
    values = {"csp.seen": 1.0, "csp.size": 1 + size + 0.1 * rng.standard_normal()}
    statistics = {"a": look + rng.standard_normal()}
    return experiment.Case(str(subject), "axial", anomaly, 30.0, values, values, statistics, mismatch)


def test_the_auroc_of_a_kind_is_against_the_normals():
    kinds = {"A": "none", "B": "none", "C": "small", "D": "wide", "E": "wide"}
    scores = {"A": 1.0, "B": 3.0, "C": 2.0, "D": 4.0, "E": math.nan}
    assert experiment.auroc(scores, kinds, "small")["auroc"] == 0.5
    assert experiment.auroc(scores, kinds, "wide")["auroc"] == 1
    found = experiment.auroc(scores, kinds)
    assert found["auroc"] == 0.75
    assert 0 <= found["low"] <= 0.75 <= found["high"] <= 1


def test_the_thesis_score_of_a_subject_is_the_median_of_its_images():
    images = [case("A", mismatch=m) for m in (0.1, 0.9, 0.2)] + [case("B", mismatch=0.4)]
    assert experiment.thesis_scores(images) == {"A": 0.2, "B": 0.4}


@pytest.fixture(scope="module")
def parts():
    training = [case(i) for i in range(30)] + [case(i, "wide", size=3) for i in range(30, 40)]
    validation = [case(i) for i in range(40, 60)] + [case(60, "wide", size=3)]
    test = [case(i) for i in range(70, 80)] + [case(i, "wide", size=3) for i in range(80, 86)]
    return training, validation, test


def test_what_is_found_is_what_was_planted(parts):
    training, validation, test = parts
    detector = experiment.fit(training, validation, ("background", "csp"))
    assert len(detector.normative.null_subjects) == 20
    assert detector.normative.n_subjects == 30
    refused = dataclasses.replace(test[0], statistics={"a": 50.0})
    found = experiment.result(detector, experiment.normative_model(training), [refused, *test[1:]])
    assert found["auroc"] == found["kinds"]["wide"] == 1
    assert found["low"] == found["high"] == 1
    assert (len(found["normal"]), len(found["anomalous"]), found["n_not_scored"]) == (9, 6, 1)
    assert found["images_refused"] == 1 / 16
    assert found["words"]["80"].startswith("wide: size of csp is")
    assert "not clinical evidence" in found["note"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_the_table_can_be_read(parts, capsys):
    training, validation, test = parts
    detector = experiment.fit(training, validation, ("background", "csp"))
    found = experiment.result(detector, experiment.normative_model(training), test)
    anomaly_phantom.show(found | {"harmed_refused": {"noise": 1.0, "black": 0.5}})
    printed = capsys.readouterr().out
    assert "10 normal and 6 anomalous test subjects, 0 not scored" in printed
    assert "noise images 100%; black images 50%" in printed
    assert experiment.NOTE in printed


def test_harmed_images_go_through_the_network_and_the_gate():
    """A stand-in network finds its foreground where an image is bright; every image of the fit is half bright."""

    class Bright:
        def probabilities(self, images):
            return (np.stack([1 - image / 255, image / 255], -1) for image in images)

    rng = np.random.default_rng(0)
    images = [
        np.clip(np.tile(np.linspace(0, 200, 32), (48, 1)) + rng.normal(0, 9, (48, 32)), 0, 255) for _ in range(24)
    ]
    images = [image.astype(np.uint8) for image in images]
    seen = [anomaly_phantom.image_statistics(i, p) for i, p in zip(images, Bright().probabilities(images), strict=True)]
    ood = OODDetector.fit(seen, [str(i) for i in range(24)])
    model = NormativeModel("none", 0.0, 0.0, {}, (), (), 0)
    shares = anomaly_phantom.refusals(Detector(("background", "head"), ood, model), Bright(), images[:4])
    assert shares.keys() == anomaly_phantom.HARM.keys()
    assert shares["noise"] == shares["black"] == shares["inverted"] == shares["turned by 90 degrees"] == 1


def test_a_run_on_other_data_is_refused(tmp_path, capsys):
    (tmp_path / "model").mkdir()
    Splits("hc18:1.0.0:0", 0, dict.fromkeys(PARTS, ()), {}).save(tmp_path / "splits.json")
    assert anomaly_phantom.main(["--workdir", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"anomaly_phantom: {tmp_path} is a run on hc18:1.0.0:0: give one on fetal_phantom/anomalies")
    assert told.count("\n") == 1
