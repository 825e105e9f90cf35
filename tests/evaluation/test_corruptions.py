"""Seven corruptions: what each does to pixels, by hand; all repeat, spare black, and grow with their strength."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from fetal_jax.evaluation.corruptions import CORRUPTIONS, corrupt, corrupt_all
from input_pipeline.dataset import Record

ALL = [(name, strength) for name, p in CORRUPTIONS.items() for strength in p.strengths]


@pytest.fixture(scope="module")
def record():
    """A bright, textured ellipse below a black margin, in a frame without a fan."""
    rows, columns = np.mgrid[:96, :128]
    inside = ((rows - 50) / 20) ** 2 + ((columns - 70) / 30) ** 2 <= 1
    image = np.where(inside, 160, 60) + 10 * np.sin(columns / 3) + 10 * np.sin(rows / 4)
    image[:8] = 0
    return Record("one", "s1", image.astype(np.uint8)[..., None], inside.astype(np.uint8), True, np.ones(2, np.float32))


def grey(record):
    return record.image[..., 0].astype(float)


@pytest.mark.parametrize(("name", "strength"), ALL)
def test_every_corruption_repeats_itself_and_leaves_the_original(record, name, strength):
    before = record.image.copy()
    first, again = corrupt(record, name, strength), corrupt(record, name, strength)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(record.image, before)
    assert (first.image.dtype, first.image.shape) == (np.uint8, before.shape)
    assert (first.labels.dtype, first.labels.shape) == (np.uint8, record.labels.shape)
    assert (first.image != before).any()
    assert (first.name, first.subject) == ("one", "s1")


@pytest.mark.parametrize(("name", "strength"), [setting for setting in ALL if setting[0] != "rotation"])
def test_where_pixels_stay_put_so_do_labels_and_black(record, name, strength):
    changed = corrupt(record, name, strength)
    np.testing.assert_array_equal(changed.labels, record.labels)
    assert (changed.image[record.image == 0] == 0).all()


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_there_are_five_strengths_and_each_changes_more_than_the_last(record, name):
    strengths = CORRUPTIONS[name].strengths
    change = [np.abs(grey(corrupt(record, name, s)) - grey(record)).mean() for s in strengths]
    assert len(strengths) == 5
    assert change == sorted(change)


@pytest.mark.parametrize("name", ["gaussian noise", "speckle", "shadow"])
def test_each_image_draws_its_own_noise_by_its_name_and_the_strength(record, name):
    other = dataclasses.replace(record, name="two")
    strength, *_, strongest = CORRUPTIONS[name].strengths
    assert (corrupt(record, name, strength).image != corrupt(other, name, strength).image).any()
    if name == "gaussian noise":
        weak, strong = (grey(corrupt(record, name, s)) - grey(record) for s in (strength, strongest))
        assert abs(np.corrcoef(weak[8:].ravel(), strong[8:].ravel())[0, 1]) < 0.1


def test_corrupt_all_is_one_by_one(record):
    two = [record, dataclasses.replace(record, name="two")]
    for one, expected in zip(corrupt_all(two, "gaussian noise", 20.0), two, strict=True):
        np.testing.assert_array_equal(one.image, corrupt(expected, "gaussian noise", 20.0).image)


def test_gaussian_noise_has_the_sd_that_it_says(record):
    difference = (grey(corrupt(record, "gaussian noise", 10.0)) - grey(record))[8:]
    assert difference.std() == pytest.approx(10, rel=0.03)
    assert difference.mean() == pytest.approx(0, abs=0.3)


def test_speckle_multiplies_by_rayleigh_noise_of_mean_one(record):
    """A Rayleigh variable of mean 1 has an SD of sqrt(4 / pi - 1) = 0.5227."""
    ratio = (grey(corrupt(record, "speckle", 0.4)) / np.maximum(grey(record), 1))[8:]
    assert ratio.mean() == pytest.approx(1, abs=0.05)
    assert ratio.std() == pytest.approx(0.4 * 0.5227, rel=0.15)


def test_blur_is_a_gaussian(record):
    """2 % of 96 pixels is an SD of 1.92; far from the black margin, which stays black and is blurred into the rest."""
    expected = ndimage.gaussian_filter(grey(record), 1.92, mode="mirror")
    assert np.abs(grey(corrupt(record, "blur", 2.0)) - expected)[8:].max() <= 1.5


def test_contrast_and_gain_by_hand():
    image = np.array([[[0], [100]], [[100], [200]]], np.uint8)  # the mean is 100
    tiny = Record("tiny", "s", image, np.zeros((2, 2), np.uint8), True, np.ones(2, np.float32))
    assert corrupt(tiny, "contrast", 0.5).image.ravel().tolist() == [0, 100, 100, 150]
    assert corrupt(tiny, "gain", 1.5).image.ravel().tolist() == [0, 150, 150, 255]


@pytest.mark.parametrize("strength", CORRUPTIONS["shadow"].strengths)
def test_a_shadow_covers_its_share_of_the_structure_and_nothing_beside_it(record, strength):
    dark = grey(corrupt(record, "shadow", strength))[8:] < 0.5 * grey(record)[8:]
    columns = np.flatnonzero(dark.any(0))
    inside = np.flatnonzero(record.labels.any(0))
    assert len(columns) == pytest.approx(strength * len(inside), abs=3)
    assert inside[0] <= columns.mean() <= inside[-1]
    assert dark[:, columns[len(columns) // 2]].all()  # from the probe to the bottom


def test_an_image_without_a_structure_has_a_shadow_too(record):
    empty = dataclasses.replace(record, labels=np.zeros_like(record.labels))
    assert (grey(corrupt(empty, "shadow", 0.3)) < 0.5 * grey(record)).any()


@pytest.mark.parametrize("strength", CORRUPTIONS["rotation"].strengths)
def test_rotation_turns_image_and_labels_alike(record, strength):
    turned = corrupt(record, "rotation", strength)
    alike = [ndimage.rotate(record.labels, sign * strength, reshape=False, order=0) for sign in (-1, 1)]
    assert max((turned.labels == labels).mean() for labels in alike) > 0.98
    bright = (grey(turned) > 110).astype(np.uint8)
    assert (bright == turned.labels).mean() > 0.97
    corner = grey(turned)[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corner == 0).sum() >= 2  # what turns into the frame is black
    assert (turned.labels[grey(turned) == 0] == 0).mean() > 0.99


def test_some_images_turn_left_and_some_right(record):
    named = (dataclasses.replace(record, name=str(i)) for i in range(8))
    places = {ndimage.center_of_mass(corrupt(one, "rotation", 45.0).labels)[0] > 50 for one in named}
    assert places == {True, False}


def test_what_turns_out_of_the_frame_is_gone_from_the_reference(record):
    whole = dataclasses.replace(record, labels=np.ones_like(record.labels))
    turned = corrupt(whole, "rotation", 45.0)
    assert 0.3 < turned.labels.mean() < 0.9
