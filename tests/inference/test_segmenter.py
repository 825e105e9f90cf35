"""A trained network as a user holds it: saved, read, refused when damaged, and called."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

import fetal_jax
from fetal_jax.core.types import UserError
from fetal_jax.inference import segmenter as segmenters
from fetal_jax.inference.segmenter import Segmenter


@pytest.fixture(scope="module")
def saved(tmp_path_factory, card, small_network):
    """A workdir with a model."""
    workdir = tmp_path_factory.mktemp("run")
    segmenters.save(workdir / "model", card, small_network[1])
    return workdir


@pytest.fixture
def bright(card, small_network, bright_is_foreground):
    return Segmenter(card, small_network[1])


def picture():
    """A bright square of 20 x 30 pixels in a dark image of 60 x 90."""
    image = np.zeros((60, 90), np.uint8)
    image[20:40, 30:60] = 255
    return image


@pytest.mark.slow
def test_what_is_saved_is_read_bit_by_bit(saved, card, small_network):
    for directory in (saved, saved / "model", str(saved)):
        read_card, variables = segmenters.read(directory)
        assert read_card == card
        pairs = zip(jax.tree.leaves_with_path(variables), jax.tree.leaves_with_path(small_network[1]), strict=True)
        for (path, ours), (expected_path, expected) in pairs:
            assert path == expected_path
            assert ours.dtype == expected.dtype
            np.testing.assert_array_equal(ours, expected)
    assert sorted(p.name for p in saved.iterdir()) == ["model"]
    assert sorted(p.name for p in (saved / "model").iterdir()) == ["model.json", "weights.npz"]


def test_a_saved_model_is_replaced_whole(tmp_path, saved, card, small_network):
    target = tmp_path / "model"
    shutil.copytree(saved / "model", target)
    (target / "left_over.txt").write_text("of an older version")
    half = jax.tree.map(lambda x: x / 2, small_network[1])
    segmenters.save(target, card, half)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    assert sorted(p.name for p in target.iterdir()) == ["model.json", "weights.npz"]
    jax.tree.map(np.testing.assert_array_equal, segmenters.read(target)[1], half)


def test_a_save_that_fails_leaves_the_old_model(tmp_path, saved, card, small_network, monkeypatch):
    target = tmp_path / "model"
    shutil.copytree(saved / "model", target)
    before = (target / "model.json").read_bytes()

    def fail(*args, **kwargs):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez", fail)
    with pytest.raises(OSError, match="disk full"):
        segmenters.save(target, card, small_network[1])
    assert (target / "model.json").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    segmenters.read(target)


def test_a_kill_between_two_renames_loses_no_model(tmp_path, saved, card, small_network):
    shutil.copytree(saved / "model", tmp_path / "model.old")
    for directory in (tmp_path, tmp_path / "model"):
        assert segmenters.read(directory)[0] == card
    half = jax.tree.map(lambda x: x / 2, small_network[1])
    segmenters.save(tmp_path / "model", card, half)
    assert [p.name for p in tmp_path.iterdir()] == ["model"]
    jax.tree.map(np.testing.assert_array_equal, segmenters.read(tmp_path)[1], half)


def test_one_flipped_bit_is_found(tmp_path, saved):
    shutil.copytree(saved / "model", tmp_path / "model")
    weights = tmp_path / "model" / "weights.npz"
    data = bytearray(weights.read_bytes())
    data[len(data) // 2] ^= 1
    weights.write_bytes(data)
    with pytest.raises(UserError, match=r"weights\.npz is damaged \(its SHA-256 differs\): copy it again"):
        fetal_jax.load(tmp_path)


def test_a_folder_without_a_model_is_refused(tmp_path, saved):
    with pytest.raises(UserError, match="nowhere has no model: give the workdir of a finished run"):
        fetal_jax.load(tmp_path / "nowhere")
    with pytest.raises(UserError, match="has no model"):
        fetal_jax.load(str(tmp_path))
    shutil.copytree(saved / "model", tmp_path / "model")
    (tmp_path / "model" / "weights.npz").unlink()
    with pytest.raises(UserError, match=r"weights\.npz is missing: copy the whole model folder"):
        fetal_jax.load(str(tmp_path))


def test_the_card_can_be_read_by_anyone(saved, card):
    text = json.loads((saved / "model" / "model.json").read_text())
    assert text["facts"]["classes"] == ["background", "cerebellum"]
    assert text["size"] == 32
    assert len(text["sha256"]) == 64


def test_a_card_of_an_older_version_says_that_nothing_was_chosen(tmp_path, saved):
    shutil.copytree(saved / "model", tmp_path / "model")
    description = json.loads((tmp_path / "model" / "model.json").read_text())
    for later in ("tta", "postprocess", "intervals_mm"):
        del description[later]
    (tmp_path / "model" / "model.json").write_text(json.dumps(description))
    card, _ = segmenters.read(tmp_path)
    assert (card.tta, card.postprocess, card.intervals_mm) == ("none", "none", {})


def test_what_was_chosen_on_validation_is_on_the_card(tmp_path, card, small_network):
    chosen = dataclasses.replace(card, tta="flips", postprocess="anatomy", intervals_mm={"hc_mm": 2.5})
    segmenters.save(tmp_path / "model", chosen, small_network[1])
    assert segmenters.read(tmp_path)[0] == chosen


def test_labels_and_probabilities_come_in_the_size_of_the_image(bright):
    answer = bright(picture())
    assert answer.labels.dtype == np.uint8
    assert answer.probs.shape == (60, 90, 2)
    np.testing.assert_allclose(answer.probs.sum(-1), 1, rtol=1e-5)
    np.testing.assert_array_equal(answer.labels, answer.probs.argmax(-1))
    overlap = (answer.labels & (picture() > 0)).sum()
    assert 2 * overlap / (answer.labels.sum() + 600) > 0.9
    np.testing.assert_array_equal(bright(picture()[..., None]).labels, answer.labels)


def test_areas_are_pixels_times_the_spacing(bright):
    pixels = int(bright(picture()).labels.sum())
    assert bright(picture(), (0.5, 0.2)).area_mm2 == {"cerebellum": pytest.approx(pixels * 0.1)}
    assert bright(np.zeros_like(picture()), (0.5, 0.2)).area_mm2 == {"cerebellum": 0}


@pytest.mark.parametrize("spacing", [None, (0.0, 0.0)])
def test_without_a_spacing_there_is_no_area(bright, spacing):
    assert bright(picture(), spacing).area_mm2 == {"cerebellum": None}


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint16), np.zeros((8, 8)), np.zeros((2, 8, 8, 1), np.uint8)],
    ids=["colour", "16 bit", "float", "batch"],
)
def test_another_kind_of_image_is_refused(bright, image):
    with pytest.raises(UserError, match=r"image has shape .* this model takes uint8 \[h w\] or \[h w 1\]"):
        bright(image)


def test_images_of_many_sizes_go_through_one_batch(card, small_network, bright_is_foreground):
    shapes = [(60, 90), (90, 60), (10, 10), (32, 32), (1, 7)]
    images = [np.full(shape, 200, np.uint8) for shape in shapes]
    answers = list(Segmenter(card, small_network[1], batch_size=2).probabilities(images))
    assert [answer.shape for answer in answers] == [(*shape, 2) for shape in shapes]
    for answer in answers:
        np.testing.assert_allclose(answer[..., 1], 200 / 255, rtol=1e-5)


def test_other_weights_go_through_the_same_program(card, small_network):
    calls = []

    def predict(variables, images):
        calls.append(variables)
        return np.concatenate([1 - images, images], -1)

    other = jax.tree.map(lambda x: x + 1, small_network[1])
    first = Segmenter(card, small_network[1], predict=predict)
    first(picture())
    first.with_variables(other)(picture())
    list(first.with_variables(other).training_probabilities([np.zeros((32, 32, 1), np.uint8)]))
    assert calls == [small_network[1], other, other]
    first.with_tta("flips")(picture())
    assert len(calls) == 6
