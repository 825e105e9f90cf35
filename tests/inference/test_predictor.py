"""A model as prediction uses it: what is dictated, what the run chose, and what stays raw."""

import dataclasses

import cv2
import numpy as np
import pytest

from fetal_jax.core.types import UserError
from fetal_jax.inference import predictor as predictors
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.ensemble import Ensemble
from fetal_jax.inference.postprocessing import recipe
from fetal_jax.inference.predict_images import predict_files


@pytest.fixture
def grey_is_a_class(monkeypatch):
    """Every network tells classes by grey values: 0, 1/3, 2/3 and 1; nothing to compile."""

    def predict(_, images):
        distance = np.abs(images - np.linspace(0, 1, 4, dtype=np.float32))
        return np.exp(-30 * distance) / np.exp(-30 * distance).sum(-1, keepdims=True)

    monkeypatch.setattr(segmenters, "make_predict", lambda model, mesh: predict)


def picture():
    """A brain with an LV, and another LV in the open."""
    image = np.zeros((24, 24), np.uint8)
    image[4:16, 4:20] = 85
    image[8:12, 8:12] = 255
    image[20:23, 2:5] = 255
    return image


def test_by_default_the_answer_is_the_networks_own(saved, grey_is_a_class):
    predictor = predictors.load([saved("run", tta="flips", postprocess="anatomy")])
    assert predictor.steps == ()
    assert np.bincount(predictor(picture()).labels.ravel(), minlength=4).tolist() == [576 - 192 - 9, 176, 0, 25]


def test_what_is_dictated_cleans_labels_and_sizes_but_not_probabilities(saved, grey_is_a_class):
    folder = saved("run")
    raw, clean = (
        predictors.load([folder])(picture()),
        predictors.load([folder], postprocess="anatomy")(picture(), (0.5, 2)),
    )
    assert (clean.labels[20:23, 2:5] == 0).all()
    np.testing.assert_array_equal(clean.labels[:20], raw.labels[:20])
    assert clean.area_mm2 == {"brain": 176, "csp": 0, "lv": 16}
    np.testing.assert_array_equal(clean.probs, raw.probs)


def test_auto_is_what_the_run_chose(saved, grey_is_a_class):
    predictor = predictors.load([saved("run", tta="flips", postprocess="largest")], tta="auto", postprocess="auto")
    assert len(predictor.segmenter.tta_members()) == 3
    assert predictor.steps == recipe("largest", ("background", "brain", "csp", "lv"))
    untouched = predictors.load([saved("older")], tta="auto", postprocess="auto")
    assert (len(untouched.segmenter.tta_members()), untouched.steps) == (1, ())


def test_intervals_are_of_answers_made_as_they_were_evaluated(saved):
    folder = saved("run", tta="flips", postprocess="largest", intervals_mm={"hc_mm": 2.5})
    assert predictors.load([folder], tta="auto", postprocess="auto").config.intervals_mm == {"hc_mm": 2.5}
    assert predictors.load([folder], tta="flips", postprocess="largest").config.intervals_mm == {"hc_mm": 2.5}
    assert predictors.load([folder], tta="flips").config.intervals_mm == {}
    assert predictors.load([folder], postprocess="largest").config.intervals_mm == {}


def test_several_models_answer_together(saved, grey_is_a_class):
    predictor = predictors.load([saved("seed0"), saved("seed1", 1)], tta="horizontal", postprocess="largest")
    assert isinstance(predictor.segmenter, Ensemble)
    assert predictor(picture()).labels.shape == (24, 24)
    assert (predictor(picture()).labels[20:23, 2:5] == 0).all()


def test_volumes_are_mirrored_and_cleaned_up_too(saved, brain_card, grey_is_a_class):
    volume = np.zeros((12, 12, 12), np.uint16)
    volume[3:9, 3:9, 3:9] = 65535 // 3
    volume[5:7, 5:7, 5:7] = 0  # a hole
    volume[0, 0, 0:3] = 65535 // 3
    folder = saved("run", size=12, facts=dataclasses.replace(brain_card.facts, dims=3))
    raw = predictors.load([folder])(volume, (1, 1, 2))
    clean = predictors.load([folder], tta="flips", postprocess="anatomy")(volume, (1, 1, 2))
    assert raw.volume_ml == {"brain": pytest.approx((216 - 8 + 3) * 2 / 1000), "csp": 0, "lv": 0}
    assert clean.volume_ml == {"brain": pytest.approx(216 * 2 / 1000), "csp": 0, "lv": 0}
    with pytest.raises(UserError, match="tta 'scales' is for images"):
        predictors.load([folder], tta="scales")


@pytest.mark.parametrize(
    ("options", "message"),
    [({"tta": "rotate"}, "tta 'rotate' is unknown"), ({"postprocess": "magic"}, "postprocess 'magic' is unknown")],
)
def test_unknown_names_are_refused_before_anything_is_written(saved, tmp_path, options, message):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    with pytest.raises(UserError, match=message):
        list(predict_files(saved("run"), [tmp_path / "a.png"], tmp_path / "out", **options))
    assert not (tmp_path / "out").exists()


def test_the_mask_and_the_table_of_a_file_are_cleaned_up(saved, tmp_path, grey_is_a_class):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    folders = [saved("seed0"), saved("seed1", 1)]
    list(predict_files(folders, [tmp_path / "a.png"], tmp_path / "out", postprocess="anatomy", tta="flips"))
    mask = cv2.imread(str(tmp_path / "out" / "a.png"), cv2.IMREAD_UNCHANGED)
    assert (mask[20:23, 2:5] == 0).all()
    rows = (tmp_path / "out" / "predictions.csv").read_text().splitlines()
    assert [row.split(",")[2:4] for row in rows[1:]] == [["brain", "176"], ["csp", "0"], ["lv", "16"]]
