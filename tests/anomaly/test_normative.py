"""Planted anomalies stand out from normal heads, also where the plane, the age or the size of a pixel is unknown."""

import dataclasses
import json
import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fetal_jax.anomaly.normative import NormativeModel, in_words
from fetal_jax.core.types import UserError
from input_pipeline.builders.fetal_phantom import anatomy

TC, TT = anatomy.PLANES


@pytest.fixture(scope="module")
def model(normals):
    vectors, ages, subjects, planes = zip(*map(dataclasses.astuple, normals), strict=True)
    return NormativeModel.fit(vectors, ages, subjects, planes)


def of_subject(model, images, plane=True):
    return model.combine([model.score(i.vector, i.age, i.plane if plane else None) for i in images])


@pytest.mark.slow
@pytest.mark.parametrize("plane", [True, False], ids=["plane given", "plane inferred"])
@pytest.mark.parametrize("kind", anatomy.ANOMALIES)
def test_planted_anomalies_are_told_from_normals(model, unseen, kind, plane):
    normal = [of_subject(model, images, plane).score for images in unseen["none"]]
    planted = [of_subject(model, images, plane) for images in unseen[kind]]
    scores = normal + [subject.score for subject in planted]
    assert roc_auc_score([0] * len(normal) + [1] * len(planted), scores) >= 0.95
    about = {"ventriculomegaly": "lv", "absent_csp": "csp", "small_cerebellum": ("cerebellum", "tcd")}[kind]
    features = [subject.most_deviant for subject in planted]
    assert sum(any(word in name for word in np.atleast_1d(about)) for name in features) >= 4, features


@pytest.mark.slow
def test_a_missing_cavum_is_said_in_words(model, unseen):
    (image, *_) = unseen["absent_csp"][0]
    score = model.score(image.vector, image.age, image.plane)
    assert score.z["csp.seen"] < -1.5
    assert score.z["csp.size"] < -4
    assert score.words.startswith("csp is not seen (")
    assert score.n_undefined > 0  # all that cannot be measured on what is not there


def test_planes_are_told_by_what_they_show(model, normals):
    assert all(model.score(image.vector, image.age).plane == image.plane for image in normals)


def test_nothing_is_expected_of_what_a_plane_does_not_show(model):
    assert not any("lv" in name for name in model.planes[TC].expected)
    assert not any("cerebellum" in name for name in model.planes[TT].expected)
    assert model.planes[TC].seen == {"csp": (32, 32), "lv": (0, 32), "cerebellum": (32, 32)}


def test_p_values_are_ranks_among_normals_left_out_of_their_own_fit(model, normals, unseen):
    assert len(model.null) == len(normals)
    assert len(model.null_subjects) == model.n_subjects == 16
    planted = of_subject(model, unseen["ventriculomegaly"][0])
    assert planted.p_value == pytest.approx(1 / 17)  # no normal scores as high; 16 cannot show less
    usual = [of_subject(model, images).p_value for images in unseen["none"]]
    assert np.median(usual) > 0.15
    median = dataclasses.replace(model, null=(1.0, 2.0, 3.0)).score(normals[0].vector, normals[0].age, normals[0].plane)
    assert median.p_value == (1 + sum(x >= median.score for x in (1.0, 2.0, 3.0))) / 4


@pytest.mark.slow
def test_leaving_out_means_all_of_a_subject(normals, columns):
    # One subject with a strange cavum, in all images: with one of them in the fit the others would look better.
    strange = [
        dataclasses.replace(i, vector=i.vector | {"csp.size": 0.5}) if i.subject == "none3" else i for i in normals
    ]
    without = NormativeModel.fit(*columns([i for i in strange if i.subject != "none3"]))
    worst = max(without.score(i.vector, i.age, i.plane).score for i in strange if i.subject == "none3")
    assert max(NormativeModel.fit(*columns(strange)).null) == pytest.approx(worst)


def test_one_failed_frame_does_not_make_a_subject_abnormal(model, unseen):
    images = unseen["none"][1]
    scores = [model.score(i.vector, i.age, i.plane) for i in (*images, *images)]
    failed = model.score(images[0].vector | {"csp.size": 0.0, "csp.seen": 0.0}, images[0].age, images[0].plane)
    assert failed.score > 4
    assert model.combine([*scores, failed]).score < 4


def test_errors_of_a_network_are_no_anomalies(model, normals):
    rng = np.random.default_rng(0)
    predicted = [i.vector | {"csp.size": i.vector["csp.size"] * (0.7 + 0.1 * rng.standard_normal())} for i in normals]
    planes = [image.plane for image in normals]
    aware = model.with_errors(predicted, [image.vector for image in normals], planes)
    naive, known = (
        [m.score(v, i.age, i.plane).z["csp.size"] for v, i in zip(predicted, normals, strict=True)]
        for m in (model, aware)
    )
    assert np.median(naive) < -1.5
    assert abs(np.median(known)) < 0.3
    assert np.std(known) == pytest.approx(1, abs=0.3)
    untouched = [m.score(normals[0].vector, normals[0].age, TC).z["csp.eccentricity"] for m in (model, aware)]
    assert untouched[0] == pytest.approx(untouched[1])


def test_p_values_can_come_from_other_normals(model, unseen):
    images = [model.score(i.vector, i.age, i.plane) for images in unseen["none"] for i in images]
    other = model.calibrated(images, [model.combine(images)])
    assert other.null == tuple(sorted(score.score for score in images))
    assert len(other.null_subjects) == 1


@pytest.mark.slow
def test_without_ages_all_is_by_the_size_of_the_head(normals, unseen, columns):
    vectors, _, subjects, planes = columns(normals)
    model = NormativeModel.fit(vectors, None, subjects, planes)
    assert model.covariate == "hc_mm"
    assert "hc_mm" not in model.planes[TC].expected
    planted = [model.combine([model.score(i.vector) for i in images]).score for images in unseen["absent_csp"]]
    normal = [model.combine([model.score(i.vector) for i in images]).score for images in unseen["none"]]
    assert min(planted) > max(normal)
    headless = model.score({**vectors[0], "hc_mm": math.nan})
    assert headless.words.endswith("; hc_mm could not be measured")


@pytest.mark.slow
def test_without_sizes_all_ages_are_one(normals, columns):
    vectors, _, subjects, planes = columns(normals)
    ratios = [{name: value for name, value in v.items() if not name.endswith("_mm")} for v in vectors]
    model = NormativeModel.fit(ratios, None, subjects, planes)
    assert (model.covariate, model.low, model.high) == ("none", 0.0, 0.0)
    assert model.score(ratios[0]).score < 5


def test_an_age_beyond_the_normals_is_said(model, normals):
    score = model.score(normals[0].vector, 43.0, normals[0].plane)
    assert "ga_weeks 43.0 is not in the reference cohort's" in score.words


def test_nothing_measured_is_no_score(model):
    score = model.score({}, 30.0, TC)
    assert math.isnan(score.score)
    assert score.words.startswith("not scored")
    assert math.isnan(model.combine([score, score]).score)


def test_json_holds_it(model):
    assert NormativeModel.from_dict(json.loads(json.dumps(model.to_dict()))) == model


@pytest.mark.parametrize(
    ("name", "z", "words"),
    [
        ("lv.thickness", 6.24, "thickness of lv is 6.2 SD above normal"),
        ("tcd/hc", -4.0, "tcd/hc is 4.0 SD below normal"),
        ("csp.seen", -2.5, "csp is not seen, unlike in normal images of this plane"),
        ("lv.seen", 2.5, "lv is seen, unlike in normal images of this plane"),
    ],
)
def test_words(name, z, words):
    assert in_words(name, z) == words


def test_what_is_missing_is_named(model, normals, columns):
    with pytest.raises(UserError, match="ga_weeks is missing"):
        model.score(normals[0].vector, plane=TC)
    with pytest.raises(UserError, match=r"plane 'axial' is unknown.*trans_cerebellum, trans_thalamic"):
        model.score(normals[0].vector, 30.0, "axial")
    with pytest.raises(UserError, match="plane 'axial' is unknown"):
        model.with_errors([{}], [{}], ["axial"])
    with pytest.raises(UserError, match="4 normal images of 2 subjects in plane trans_cerebellum are too few"):
        NormativeModel.fit(*columns(normals[:8]))
    with pytest.raises(UserError, match="0 normal images of 0 subjects are too few"):
        NormativeModel.fit([], None, [])
