"""Where pixels go, by hand, and what happens to the spacing."""

import dataclasses

import cv2
import numpy as np
import pytest

from input_pipeline.augment import Sample
from input_pipeline.augment.geometry import Flip, ShiftScaleRotate, Zoom, similarity, warp

UNKNOWN = np.zeros(2, np.float32)


def rng(seed=0):
    return np.random.default_rng(seed)


def marked(shape, row, column, spacing_mm=UNKNOWN):
    """One pixel that is 200 in the image, 3 in the labels and 0.5 in the weights."""
    labels = np.zeros(shape, np.uint8)
    labels[row, column] = 3
    at = labels > 0
    return Sample(np.uint8(200) * at[..., None], labels, np.float32(0.5) * at, np.asarray(spacing_mm, np.float32))


def place(sample):
    """Where the one marked pixel is, the same in all three arrays."""
    found = np.argwhere(sample.labels)
    assert len(found) == 1
    np.testing.assert_array_equal(np.argwhere(sample.weights), found)
    np.testing.assert_array_equal(np.argwhere(sample.image[..., 0] > 100), found)
    assert sample.labels.max() == 3
    assert sample.weights.max() == np.float32(0.5)
    return tuple(found[0])


def move(sample, **how):
    height, width = sample.labels.shape
    matrix = similarity(((width - 1) / 2, (height - 1) / 2), spacing_mm=sample.spacing_mm, **how)
    return warp(sample, matrix)


def test_flips_mirror_about_the_middle():
    sample = marked((10, 20), 2, 5)
    assert place(Flip("horizontal")(sample, rng())) == (2, 14)
    assert place(Flip("vertical")(sample, rng())) == (7, 5)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, (4, 14)),
        ({"shift": (3.0, -2.0)}, (2, 17)),  # 3 to the right, 2 up
        ({"degrees": 90.0}, (6, 4)),  # (4, 0) right of and above (10, 10) in x, y -> counter-clockwise
        ({"degrees": 180.0}, (16, 6)),
        ({"degrees": -90.0}, (14, 16)),
        ({"degrees": 90.0, "shift": (1.0, 1.0)}, (7, 5)),
    ],
    ids=str,
)
def test_a_pixel_s_new_place_by_hand(how, expected):
    """In 21 x 21 pixels the centre is (10, 10), and (row 4, column 14) lies 4 right of it and 6 above."""
    assert place(move(marked((21, 21), 4, 14), **how)) == expected


def test_the_matrix_is_that_of_opencv():
    for degrees, scale in ((0, 1), (6.25, 1.0), (-20, 0.9), (90, 1.2)):
        ours = similarity((12.5, 7.0), degrees=degrees, scale=scale, spacing_mm=UNKNOWN)
        np.testing.assert_allclose(ours, cv2.getRotationMatrix2D((12.5, 7.0), degrees, scale), atol=1e-12)


def test_scaling_doubles_a_block_and_halves_the_spacing():
    """Twice the size about (9.5, 9.5): columns 8..11 reach from 7.5 to 11.5 and come to 5.5 to 13.5."""
    labels = np.zeros((20, 20), np.uint8)
    labels[8:12, 8:12] = 1
    doubled = move(Sample(labels[..., None], labels, labels.astype(np.float32), UNKNOWN), scale=2.0)
    expected = np.zeros((20, 20), np.uint8)
    expected[6:14, 6:14] = 1
    np.testing.assert_array_equal(doubled.labels, expected)


@pytest.mark.parametrize("seed", range(5))
def test_a_block_keeps_its_size_in_millimetres(seed):
    labels = np.zeros((200, 200), np.uint8)
    labels[70:130, 60:140] = 1
    sample = Sample(labels[..., None], labels, labels.astype(np.float32), np.float32([0.2, 0.4]))
    result = ShiftScaleRotate(shift=0.0, scale=0.3, degrees=0.0)(sample, rng(seed))
    area = 60 * 80 * 0.2 * 0.4
    assert result.labels.sum() * result.spacing_mm.prod() == pytest.approx(area, rel=0.03)
    assert result.spacing_mm[1] == pytest.approx(2 * result.spacing_mm[0])
    assert result.spacing_mm[0] != pytest.approx(0.2, rel=0.01)


def test_an_angle_is_one_in_millimetres():
    """Pixels of 1 mm x 2 mm: a point 4 mm (2 columns) to the right turns to 4 mm (4 rows) above."""
    matrix = similarity((10.0, 10.0), degrees=90.0, spacing_mm=np.float32([1.0, 2.0]))
    np.testing.assert_allclose(matrix @ (12, 10, 1), (10, 6), atol=1e-9)
    matrix = similarity((10.0, 10.0), degrees=90.0, spacing_mm=UNKNOWN)
    np.testing.assert_allclose(matrix @ (12, 10, 1), (10, 8), atol=1e-9)


def test_zoom_magnifies_about_the_centre_by_a_fifth():
    labels = np.zeros((40, 60), np.uint8)
    labels[15:25, 20:40] = 1  # 10 x 20 about the centre
    sample = Sample(labels[..., None], labels, labels.astype(np.float32), np.float32([0.6, 0.3]))
    zoomed = Zoom(1.2)(sample, rng())
    expected = np.zeros((40, 60), np.uint8)
    expected[14:26, 18:42] = 1
    np.testing.assert_array_equal(zoomed.labels, expected)
    np.testing.assert_allclose(zoomed.spacing_mm, [0.5, 0.25])


def test_the_zoom_s_spacing_is_that_of_whole_pixels():
    """5 x 7 pixels are resized to 6 x 8."""
    sample = dataclasses.replace(marked((5, 7), 2, 3), spacing_mm=np.float32([0.6, 0.8]))
    np.testing.assert_allclose(Zoom(1.2)(sample, rng()).spacing_mm, [0.5, 0.7])


def test_what_comes_from_outside_is_padding():
    ones = np.ones((8, 8), np.uint8)
    moved = move(Sample(ones[..., None] * 90, ones, ones.astype(np.float32), UNKNOWN), shift=(3.0, 0.0))
    for array in (moved.image, moved.labels, moved.weights):
        assert not array[:, :3].any()
        assert array[:, 3:].all()


def test_images_are_bilinear_and_labels_nearest():
    """Half a pixel to the right: grey values are means of neighbours, labels are of one of them."""
    sample = marked((3, 6), 1, 2)
    moved = move(sample, shift=(0.5, 0.0))
    np.testing.assert_array_equal(moved.image[1, :, 0], [0, 0, 100, 100, 0, 0])
    assert sorted(np.unique(moved.labels)) == [0, 3]


def centre(sample):
    """Row and column of the marked pixels' middle."""
    return np.argwhere(sample.labels).mean(axis=0)


def test_draws_stay_within_their_bounds_and_use_them():
    block = np.zeros((101, 201), np.uint8)
    block[48:53, 98:103] = 1
    sample = Sample(block[..., None], block, block.astype(np.float32), UNKNOWN)
    shift = ShiftScaleRotate(shift=0.1, scale=0.0, degrees=0.0)
    rows, columns = np.transpose([centre(shift(sample, rng(seed))) - (50, 100) for seed in range(200)])
    assert -10.7 < rows.min() < -8 < 8 < rows.max() < 10.7  # 10 % of 101
    assert -20.7 < columns.min() < -17 < 17 < columns.max() < 20.7  # 10 % of 201
    assert abs(np.corrcoef(rows, columns)[0, 1]) < 0.25
    turn = ShiftScaleRotate(shift=0.0, scale=0.0, degrees=6.25)
    side = np.roll(sample.labels, 90, axis=1)
    sample = dataclasses.replace(sample, labels=side)
    angles = [np.degrees(np.arctan2(50 - r, c - 100)) for r, c in (centre(turn(sample, rng(s))) for s in range(200))]
    assert -6.8 < min(angles) < -5.5 < 5.5 < max(angles) < 6.8
