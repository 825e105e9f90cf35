"""Letterbox: aspect, padding, class ids, and that nothing shifts on the way to the network and back."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.core.types import UserError
from input_pipeline.letterbox import Letterbox, resize

SIDES = st.integers(1, 300)


def disc(shape, centre, radius):
    """Coverage of each pixel by a disc, antialiased by 8x8 sub-samples; centre as (row, column) of pixel
    indices."""
    rows, cols = ((np.arange(n * 8) + 0.5) / 8 - 0.5 for n in shape)
    inside = (rows[:, None] - centre[0]) ** 2 + (cols[None] - centre[1]) ** 2 <= radius**2
    return inside.reshape(shape[0], 8, shape[1], 8).mean(axis=(1, 3)).astype(np.float32)


def centroid(image):
    rows, cols = np.indices(image.shape)
    return np.array([(rows * image).sum(), (cols * image).sum()]) / image.sum()


def test_the_aspect_is_kept_and_the_padding_is_centred():
    letterbox = Letterbox.fit((540, 800), 256)
    assert letterbox.resized_shape == (173, 256)  # 540 * 256 / 800 = 172.8
    assert letterbox.offset == (41, 0)  # (256 - 173) // 2
    assert letterbox.scale == (173 / 540, 0.32)


def test_padding_has_weight_zero_and_is_black():
    letterbox = Letterbox.fit((2, 4), 8)  # doubles to 4x8, two empty rows above and below
    expected = np.repeat([0, 0, 1, 1, 1, 1, 0, 0], 8).reshape(8, 8)
    np.testing.assert_array_equal(letterbox.weights(), expected)
    white = letterbox.image_to_net(np.full((2, 4, 3), 255, np.uint8))
    np.testing.assert_array_equal(white, expected[..., None].repeat(3, axis=2) * 255)


def test_shrinking_averages_areas_and_keeps_the_type():
    image = np.array([[0, 4, 8, 8], [4, 8, 0, 0], [1, 1, 2, 2], [1, 1, 2, 2]], np.uint8)[..., None]
    small = Letterbox.fit((4, 4), 2).image_to_net(image)
    np.testing.assert_array_equal(small[..., 0], [[4, 4], [1, 2]])
    assert small.dtype == np.uint8


def test_labels_go_to_the_class_that_covers_most_and_ids_survive():
    labels = np.array([[7, 7, 0, 3], [7, 0, 3, 0], [2, 2, 0, 0], [0, 2, 0, 9]], np.uint8)
    small = Letterbox.fit((4, 4), 2).labels_to_net(labels)
    np.testing.assert_array_equal(small, [[7, 0], [2, 0]])  # a tie of 0 and 3 goes to 0
    assert small.dtype == np.uint8


def test_spacing_grows_as_pixels_do_and_unknown_stays_unknown():
    letterbox = Letterbox.fit((540, 800), 256)
    spacing_mm = letterbox.spacing_to_net(np.full(2, 0.1, np.float32))
    np.testing.assert_allclose(spacing_mm, [0.1 * 540 / 173, 0.1 / 0.32], rtol=1e-6)
    np.testing.assert_array_equal(letterbox.spacing_to_net(np.zeros(2, np.float32)), [0.0, 0.0])


@pytest.mark.slow
@pytest.mark.parametrize("native", [(540, 800), (801, 533), (96, 64), (97, 63)])
def test_a_disc_stays_where_it_is(native):
    centre, radius = np.array([native[0] * 0.43, native[1] * 0.61]), min(native) * 0.2
    letterbox = Letterbox.fit(native, 128)
    there = letterbox.image_to_net(disc(native, centre, radius)[..., None])
    expected = (centre + 0.5) * letterbox.scale - 0.5 + letterbox.offset
    np.testing.assert_allclose(centroid(there[..., 0]), expected, atol=0.02)
    back = letterbox.probs_to_native(there)
    assert back.shape == (*native, 1)
    np.testing.assert_allclose(centroid(back[..., 0]), centre, atol=0.1)


def test_the_centroid_of_labels_survives_the_round_trip():
    labels = np.zeros((540, 800), np.uint8)
    cv2.ellipse(labels, (430, 260), (170, 120), 25, 0, 360, 1, -1)
    letterbox = Letterbox.fit(labels.shape, 256)
    probs = np.eye(2, dtype=np.float32)[letterbox.labels_to_net(labels)]
    back = letterbox.probs_to_native(probs).argmax(axis=-1)
    np.testing.assert_allclose(centroid(back), centroid(labels), atol=0.1)
    assert 2 * (back & labels).sum() / (back.sum() + labels.sum()) > 0.99


def test_the_identity_changes_nothing():
    rng = np.random.default_rng(0)
    letterbox = Letterbox.fit((32, 32), 32)
    image = rng.integers(0, 256, (32, 32, 3), np.uint8)
    probs = rng.random((32, 32, 9), np.float32)
    np.testing.assert_array_equal(letterbox.image_to_net(image), image)
    np.testing.assert_array_equal(letterbox.probs_to_native(probs), probs)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.integers(1, 64))
def test_any_shape_goes_there_and_back(height, width, size):
    letterbox = Letterbox.fit((height, width), size)
    labels = np.full((height, width), 5, np.uint8)
    there = letterbox.labels_to_net(labels)
    inside = letterbox.weights() == 1
    assert there.shape == (size, size)
    assert inside.any()
    assert (inside.any(axis=1).all()) or (inside.any(axis=0).all())  # one side is filled
    np.testing.assert_array_equal(there, np.where(inside, 5, 0))
    probs = letterbox.probs_to_native(inside[..., None].astype(np.float32))
    np.testing.assert_allclose(probs, np.ones((height, width, 1)), atol=1e-6)  # no padding leaks in


def test_many_channels_are_resized_alike():
    many = np.random.default_rng(1).random((20, 30, 9), np.float32)
    together = resize(many, (10, 15))
    np.testing.assert_array_equal(together[..., 7:8], resize(many[..., 7:8], (10, 15)))


def test_an_empty_image_is_a_user_error():
    with pytest.raises(UserError, match="0x12"):
        Letterbox.fit((0, 12), 32)


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="does not match"):
        Letterbox.fit((10, 12), 32).image_to_net(np.zeros((12, 10, 1), np.uint8))
