"""The normative model of a run: fitted on its training references, measured as its network sees, and told in words."""

import math

import numpy as np
import pytest
from planted import assessment
from sklearn.metrics import roc_auc_score

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import NormativeModel
from fetal_jax.anomaly.ood import OODDetector
from fetal_jax.evaluation import normative as normals
from fetal_jax.evaluation.evaluator import Looked
from fetal_jax.statistics.bootstrap import multiplicities

CLASSES = ("background", "csp")
USUAL, STRANGE = {"grey": 0.1}, {"grey": 9.0}  # to the gate


def vector(size):
    return {"csp.seen": 1.0, "csp.size": float(size)}


@pytest.fixture(scope="module")
def detector():
    """Normals whose only number is about 10, and of age and plane nothing is known."""
    sizes = 10 + np.linspace(-1, 1, 15)
    model = NormativeModel.fit([vector(size) for size in sizes], None, [f"N{i}" for i in range(15)])
    return Detector(CLASSES, OODDetector({"grey": 0.0}, {"grey": 1.0}, ((1.0,),), 3.0, 0.05), model)


def scored_images(sizes, kinds, subjects=None, looks=USUAL):
    names = [f"{subject}_{i}" for i, subject in enumerate(subjects or [f"T{i}" for i in range(len(sizes))])]
    vectors = [{} if math.isnan(size) else vector(size) for size in sizes]
    looks = [looks] * len(sizes) if isinstance(looks, dict) else looks
    return assessment(names, [{"anomaly": kind} for kind in kinds], looks, features=(vectors, vectors))


def test_planted_scores_have_the_auroc_of_their_order(detector):
    """Of six pairs of an anomaly and a normal subject, five are in order."""
    found = normals.of_test(
        detector, scored_images([10.1, 10.3, 13, 12, 16], ["none", "none", "none", "large", "larger"])
    )
    assert found["auroc"] == pytest.approx(5 / 6)
    assert found["kinds"] == {"large": pytest.approx(2 / 3), "larger": 1}
    ill, scores = [0] * 3 + [1] * 2, found["normal"] + found["anomalous"]
    draws, times = np.unique(multiplicities([f"T{i}" for i in range(5)]), axis=0, return_counts=True)
    both = draws[:, :3].any(1) & draws[:, 3:].any(1)
    areas = [roc_auc_score(ill, scores, sample_weight=weights) for weights in draws[both]]
    areas = np.repeat(areas, times[both])
    assert [found["low"], found["high"]] == pytest.approx(np.quantile(areas, (0.025, 0.975)).tolist())
    assert found["auroc"] == roc_auc_score(ill, scores)
    assert (len(found["normal"]), len(found["anomalous"]), found["n_refused"], found["n_images"]) == (3, 2, 0, 5)
    assert [each["subject"] for each in found["most"]] == ["T4", "T2", "T3", "T1", "T0"]
    assert "size of csp is" in found["most"][0]["words"]
    assert "SD above normal" in found["most"][0]["words"]
    assert "no clinical evidence" in found["note"]


def test_a_subject_is_scored_over_all_its_images(detector):
    found = normals.of_test(detector, scored_images([10, 30, 10.2, 10.1], ["none"] * 4, ["T0", "T0", "T0", "T1"]))
    alone = normals.of_test(detector, scored_images([10.2, 10.1], ["none"] * 2))
    np.testing.assert_allclose(found["normal"], alone["normal"])  # one bad frame of three does not decide


def test_without_anomalies_there_is_no_auroc(detector):
    assert normals.of_test(detector, scored_images([10, 11], ["none", "none"]))["auroc"] is None
    assert "low" not in normals.of_test(detector, scored_images([10, 11], ["large", "large"]))


def test_what_cannot_be_scored_is_counted(detector):
    """For want of structures, or because it is unlike the training images."""
    kinds = ["none", "none", "large", "large"]
    found = normals.of_test(
        detector, scored_images([10, math.nan, 14, 40], kinds, looks=[USUAL, USUAL, USUAL, STRANGE])
    )
    assert (found["n_refused"], found["n_images"]) == (2, 4)
    assert (len(found["normal"]), len(found["anomalous"]), found["auroc"]) == (1, 1, 1)


def training(n=24, first=0, **about):
    """An image a subject, all of one age, whose cavum is 10 units large, more or less."""
    known = {"anomaly": "none", "plane": "tc", "ga_weeks": 20.0} | about
    facts = tuple({key: value for key, value in known.items() if value is not None} for _ in range(n))
    sizes = tuple(vector(10 + 0.1 * (i % 7)) for i in range(n))
    looks = tuple({"grey": 0.1 * (i % 5)} for i in range(n))
    return Looked(tuple(f"S{i}" for i in range(first, first + n)), sizes, looks, facts)


def together(*parts):
    columns = ("subjects", "features", "looks", "about")
    return Looked(*(sum((getattr(part, column) for part in parts), ()) for column in columns))


def test_the_model_is_of_normal_training_images_and_the_gate_of_all():
    strange = training(6, first=50, anomaly="ventriculomegaly")
    found = normals.fit(together(training(), strange), None, CLASSES)
    assert found.classes == CLASSES
    assert (found.normative.n_subjects, len(found.normative.null)) == (24, 24)
    assert (found.normative.covariate, list(found.normative.planes)) == ("ga_weeks", ["tc"])
    assert found.normative.planes["tc"].expected["csp.size"].n == 24
    assert found.ood == OODDetector.fit(training().looks + strange.looks, training().subjects + strange.subjects)


def test_age_and_plane_are_used_where_they_are_known_of_all():
    assert normals.fit(training(ga_weeks=None), None, CLASSES).normative.covariate == "none"
    some = together(training(), training(9, first=50, ga_weeks=None, plane=None))
    found = normals.fit(some, None, CLASSES).normative
    assert (found.covariate, list(found.planes)) == ("none", [""])


def test_too_few_images_have_no_detector():
    assert normals.fit(training(7), None, CLASSES) is None
    assert normals.fit(training(12), None, CLASSES) is None  # enough for normals, not for the gate
    assert normals.fit(training(anomaly="absent_csp"), None, CLASSES) is None


def validated(error, n=20, looks=None, **about):
    """Validation images on which the network makes every cavum larger by that much, more or less."""
    vectors = [(vector(10 + error + 0.1 * (i % 3)), vector(10 + 0.05 * (i % 4))) for i in range(n)]
    facts = [{"anomaly": "none", "plane": "tc", "ga_weeks": 20.0} | about] * n
    looks = [looks or USUAL] * n
    return assessment([f"V{i}_a" for i in range(n)], facts, looks, features=zip(*vectors, strict=True))


def fitted(validation):
    return normals.fit(training(), validation, CLASSES)


def test_the_networks_own_error_is_no_anomaly():
    """Its bias moves what is expected; p-values are ranks among validation images."""
    before, after = fitted(None).normative, fitted(validated(2)).normative
    centre = [found.planes["tc"].expected["csp.size"].at(0)[0] for found in (before, after)]
    assert centre[1] - centre[0] == pytest.approx(2, abs=0.1)
    assert len(after.null) == len(after.null_subjects) == 20
    assert len(before.null) == 24


def test_the_gate_is_as_wide_as_validation_images_ask_where_there_are_enough():
    before = fitted(None).ood
    wide = fitted(validated(0, looks={"grey": 1.0})).ood
    assert wide == before.calibrated([{"grey": 1.0}] * 20)
    assert wide.threshold > before.threshold
    assert fitted(validated(0, n=10, looks={"grey": 1.0})).ood == before


def test_validation_images_that_are_not_normal_teach_nothing_of_normals():
    assert fitted(validated(2, anomaly="absent_csp")).normative == fitted(None).normative


def test_a_plane_without_normals_is_not_scored_and_stops_nothing():
    before = fitted(None)
    assert fitted(validated(2, plane="tt")).normative == before.normative
    facts = [{"plane": plane, "ga_weeks": 20.0} for plane in ("tc", "tt")]
    test = assessment(["T0_a", "T1_a"], facts, [USUAL] * 2, features=([vector(10)] * 2, [vector(10)] * 2))
    found = normals.of_test(before, test)
    assert (found["n_refused"], [each["subject"] for each in found["most"]]) == (1, ["T0"])


def test_what_is_known_of_some_images_only_is_not_used():
    assert normals.known([{"ga_weeks": 20}, {"ga_weeks": 21}], "ga_weeks") == [20, 21]
    assert normals.known([{"ga_weeks": 20}, {}], "ga_weeks") is None
    assert normals.known([], "ga_weeks") is None
    assert [normals.is_normal(about) for about in ({}, {"anomaly": "none"}, {"anomaly": "x"})] == [True, True, False]
