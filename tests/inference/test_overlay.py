import base64

import cv2
import numpy as np
import pytest

from fetal_jax.inference import overlay as pictures

GREEN = (0, 200, 0)
PINK = (255, 0, 200)
BLACK = (0, 0, 0)


def square(size=64, low=20, high=40, class_id=1):
    labels = np.zeros((size, size), np.uint8)
    labels[low:high, low:high] = class_id
    return labels


def decode(data):
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def test_an_outline_lies_on_the_border_and_leaves_the_rest_alone():
    image = np.full((64, 64), 90, np.uint8)
    picture = pictures.outline(image, [(square(), (BLACK, GREEN))])
    assert picture.shape == (64, 64, 3)
    assert tuple(picture[20, 30]) == GREEN
    assert tuple(picture[39, 30]) == GREEN
    assert tuple(picture[30, 20]) == GREEN
    assert (picture[22:38, 22:38] == 90).all()
    outside = np.ones((64, 64), bool)
    outside[19:41, 19:41] = False
    assert (picture[outside] == 90).all()


def test_an_outline_leaves_its_input_as_it_was():
    image = np.full((64, 64), 90, np.uint8)
    pictures.outline(image, [(square(), (BLACK, GREEN))])
    assert (image == 90).all()


def test_every_class_and_every_hole_is_outlined():
    labels = square(class_id=1)
    labels[26:34, 26:34] = 0  # a hole
    labels[50:60, 50:60] = 2
    picture = pictures.outline(np.zeros((64, 64), np.uint8), [(labels, (BLACK, GREEN, PINK))])
    assert tuple(picture[20, 30]) == GREEN
    assert tuple(picture[25, 30]) == GREEN  # the rim of the hole
    assert tuple(picture[50, 55]) == PINK


def test_the_last_mask_is_on_top():
    masks = [(square(), (BLACK, GREEN)), (square(), (BLACK, PINK))]
    picture = pictures.outline(np.zeros((64, 64), np.uint8), masks)
    assert tuple(picture[20, 30]) == PINK


def test_an_empty_mask_draws_nothing():
    picture = pictures.outline(np.full((8, 9), 7, np.uint8), [(np.zeros((8, 9), np.int32), (BLACK, GREEN))])
    assert (picture == 7).all()


def test_lines_grow_with_the_image():
    def width(size):
        labels = square(size, size // 4, size // 2)
        picture = pictures.outline(np.zeros((size, size), np.uint8), [(labels, (BLACK, GREEN))])
        return int((picture[size // 3, : size // 3, 1] > 100).sum())

    assert width(200) == 1
    assert width(1200) >= 4


def test_another_size_or_a_class_without_colour_is_refused():
    with pytest.raises(ValueError, match=r"labels are \(64, 64\), but the image is \(64, 65\)"):
        pictures.outline(np.zeros((64, 65), np.uint8), [(square(), (BLACK, GREEN))])
    with pytest.raises(ValueError, match="class 2 has no colour"):
        pictures.outline(np.zeros((64, 64), np.uint8), [(square(class_id=2), (BLACK, GREEN))])


def test_label_maps_keep_their_values_when_resized():
    labels = square().astype(np.int64) * 300
    for side in (31, 64, 200):
        resized = pictures.resize(labels, side, labels=True)
        assert resized.shape == (side, side)
        assert resized.dtype == np.int64
        assert set(np.unique(resized)) == {0, 300}


def test_an_image_is_averaged_down():
    checks = (np.indices((64, 64)).sum(0) % 2 * 200).astype(np.uint8)
    assert (pictures.resize(checks, 32) == 100).all()


def test_a_data_uri_holds_the_picture_in_its_colours():
    picture = np.zeros((16, 16, 3), np.uint8)
    picture[...] = (220, 30, 40)
    head, data = pictures.data_uri(picture).split(",")
    assert head == "data:image/jpeg;base64"
    assert np.abs(decode(base64.b64decode(data)).astype(int) - picture).max() <= 6
    grey = pictures.data_uri(np.full((16, 16), 77, np.uint8)).split(",")[1]
    assert np.abs(decode(base64.b64decode(grey)).astype(int) - 77).max() <= 2
