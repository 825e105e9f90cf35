"""The normative model of a run: fitted on its training references, measured as its network sees, and told in words."""

import math

import numpy as np
import pytest
from planted import evaluated
from sklearn.metrics import roc_auc_score

from fetal_jax.anomaly.detector import Detector
from fetal_jax.anomaly.normative import NormativeModel
from fetal_jax.anomaly.ood import OODDetector
from fetal_jax.evaluation import normative
from fetal_jax.evaluation.evaluator import ImageFacts, ReferenceCohort
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


def scored_images(sizes, kinds, subjects=None, statistics=USUAL):
    names = [f"{subject}_{i}" for i, subject in enumerate(subjects or [f"T{i}" for i in range(len(sizes))])]
    vectors = [{} if math.isnan(size) else vector(size) for size in sizes]
    statistics = [statistics] * len(sizes) if isinstance(statistics, dict) else statistics
    return evaluated(names, [{"anomaly": kind} for kind in kinds], statistics, features=(vectors, vectors))


def test_planted_scores_have_the_auroc_of_their_order(detector):
    """Of six pairs of an anomaly and a normal subject, five are in order."""
    found = normative.anomaly_result(
        detector, scored_images([10.1, 10.3, 13, 12, 16], ["none", "none", "none", "large", "larger"])
    )
    assert found.separation.auroc == pytest.approx(5 / 6)
    assert found.separation.kinds == {"large": pytest.approx(2 / 3), "larger": 1}
    ill, scores = [0] * 3 + [1] * 2, found.normal + found.anomalous
    draws, times = np.unique(multiplicities([f"T{i}" for i in range(5)]), axis=0, return_counts=True)
    both = draws[:, :3].any(1) & draws[:, 3:].any(1)
    areas = [roc_auc_score(ill, scores, sample_weight=weights) for weights in draws[both]]
    areas = np.repeat(areas, times[both])
    assert [found.separation.low, found.separation.high] == pytest.approx(np.quantile(areas, (0.025, 0.975)).tolist())
    assert found.separation.auroc == roc_auc_score(ill, scores)
    assert (len(found.normal), len(found.anomalous), found.n_refused, found.n_images) == (3, 2, 0, 5)
    assert [each.subject for each in found.most] == ["T4", "T2", "T3", "T1", "T0"]
    assert "size of csp is" in found.most[0].words
    assert "SD above normal" in found.most[0].words
    assert "not clinical evidence" in found.note


def test_a_subject_is_scored_over_all_its_images(detector):
    found = normative.anomaly_result(
        detector, scored_images([10, 30, 10.2, 10.1], ["none"] * 4, ["T0", "T0", "T0", "T1"])
    )
    alone = normative.anomaly_result(detector, scored_images([10.2, 10.1], ["none"] * 2))
    np.testing.assert_allclose(found.normal, alone.normal)  # one bad frame of three does not decide


def test_without_anomalies_there_is_no_auroc(detector):
    assert normative.anomaly_result(detector, scored_images([10, 11], ["none", "none"])).separation is None
    assert normative.anomaly_result(detector, scored_images([10, 11], ["large", "large"])).separation is None


def test_what_cannot_be_scored_is_counted(detector):
    """For want of structures, or because it is unlike the training images."""
    kinds = ["none", "none", "large", "large"]
    found = normative.anomaly_result(
        detector, scored_images([10, math.nan, 14, 40], kinds, statistics=[USUAL, USUAL, USUAL, STRANGE])
    )
    assert (found.n_refused, found.n_images) == (2, 4)
    assert (len(found.normal), len(found.anomalous), found.separation.auroc) == (1, 1, 1)


def training(n=24, first=0, **about):
    """An image a subject, all of one age, whose cavum is 10 units large, more or less."""
    known = {"anomaly": "none", "plane": "tc", "ga_weeks": 20.0} | about
    facts = (ImageFacts(**known),) * n
    sizes = tuple(vector(10 + 0.1 * (i % 7)) for i in range(n))
    statistics = tuple({"grey": 0.1 * (i % 5)} for i in range(n))
    return ReferenceCohort(tuple(f"S{i}" for i in range(first, first + n)), sizes, statistics, facts)


def together(*parts):
    columns = ("subjects", "features", "image_statistics", "facts")
    return ReferenceCohort(*(sum((getattr(part, column) for part in parts), ()) for column in columns))


def test_the_model_is_of_normal_training_images_and_the_gate_of_all():
    strange = training(6, first=50, anomaly="ventriculomegaly")
    found = normative.fit_detector(together(training(), strange), None, CLASSES)
    assert found.classes == CLASSES
    assert (found.normative.n_subjects, len(found.normative.null)) == (24, 24)
    assert (found.normative.covariate, list(found.normative.planes)) == ("ga_weeks", ["tc"])
    assert found.normative.planes["tc"].expected["csp.size"].n == 24
    assert found.ood == OODDetector.fit(
        training().image_statistics + strange.image_statistics, training().subjects + strange.subjects
    )


def test_age_and_plane_are_used_where_they_are_known_of_all():
    assert normative.fit_detector(training(ga_weeks=None), None, CLASSES).normative.covariate == "none"
    some = together(training(), training(9, first=50, ga_weeks=None, plane=None))
    found = normative.fit_detector(some, None, CLASSES).normative
    assert (found.covariate, list(found.planes)) == ("none", [""])


def test_too_few_images_have_no_detector():
    assert normative.fit_detector(training(7), None, CLASSES) is None
    assert normative.fit_detector(training(12), None, CLASSES) is None  # enough for normals, not for the gate
    assert normative.fit_detector(training(anomaly="absent_csp"), None, CLASSES) is None


def validated(error, n=20, statistics=None, **about):
    """Validation images on which the network makes every cavum larger by that much, more or less."""
    vectors = [(vector(10 + error + 0.1 * (i % 3)), vector(10 + 0.05 * (i % 4))) for i in range(n)]
    facts = [{"anomaly": "none", "plane": "tc", "ga_weeks": 20.0} | about] * n
    statistics = [statistics or USUAL] * n
    return evaluated([f"V{i}_a" for i in range(n)], facts, statistics, features=zip(*vectors, strict=True))


def fitted(validation):
    return normative.fit_detector(training(), validation, CLASSES)


def test_the_networks_own_error_is_no_anomaly():
    """Its bias moves what is expected; p-values are ranks among validation images."""
    before, after = fitted(None).normative, fitted(validated(2)).normative
    centre = [found.planes["tc"].expected["csp.size"].at(0)[0] for found in (before, after)]
    assert centre[1] - centre[0] == pytest.approx(2, abs=0.1)
    assert len(after.null) == len(after.null_subjects) == 20
    assert len(before.null) == 24


@pytest.mark.slow
def test_the_gate_is_as_wide_as_validation_images_ask_where_there_are_enough():
    before = fitted(None).ood
    wide = fitted(validated(0, statistics={"grey": 1.0})).ood
    assert wide == before.calibrated([{"grey": 1.0}] * 20)
    assert wide.threshold > before.threshold
    assert fitted(validated(0, n=10, statistics={"grey": 1.0})).ood == before


def test_validation_images_that_are_not_normal_teach_nothing_of_normals():
    assert fitted(validated(2, anomaly="absent_csp")).normative == fitted(None).normative


def test_a_plane_without_normals_is_not_scored_and_stops_nothing():
    before = fitted(None)
    assert fitted(validated(2, plane="tt")).normative == before.normative
    facts = [{"plane": plane, "ga_weeks": 20.0} for plane in ("tc", "tt")]
    test = evaluated(["T0_a", "T1_a"], facts, [USUAL] * 2, features=([vector(10)] * 2, [vector(10)] * 2))
    found = normative.anomaly_result(before, test)
    assert (found.n_refused, [each.subject for each in found.most]) == (1, ["T0"])


def test_what_is_known_of_some_images_only_is_not_used():
    ages = [ImageFacts(ga_weeks=weeks) for weeks in (20.0, 21.0)]
    assert normative.known_ages(ages) == [20, 21]
    assert normative.known_ages([*ages, ImageFacts()]) is None
    assert normative.known_ages([]) is None
    assert normative.known_planes([ImageFacts(plane="tc"), ImageFacts(plane="tt")]) == ["tc", "tt"]
    assert normative.known_planes([ImageFacts(plane="tc"), ImageFacts()]) is None


def test_what_a_dataset_does_not_say_is_unknown_and_no_anomaly():
    told = [
        ImageFacts.of(about) for about in ({}, {"anomaly": "none"}, {"anomaly": "x", "ga_weeks": 20, "plane": "tc"})
    ]
    assert told == [ImageFacts(), ImageFacts(), ImageFacts("x", "tc", 20.0)]
    assert [normative.is_normal(facts) for facts in told] == [True, True, False]
