"""Grey values by hand, against OpenCV, and which way gamma and gain go."""

import cv2
import numpy as np
import pytest

from input_pipeline.augment import Sample
from input_pipeline.augment.intensity import BrightnessContrast, Clahe, GainOffset, Gamma, look_up

GREYS = np.arange(256, dtype=np.uint8).reshape(16, 16, 1)


def rng(seed=0):
    return np.random.default_rng(seed)


def sample_of(image):
    shape = image.shape[:2]
    return Sample(image, np.zeros(shape, np.uint8), np.ones(shape, np.float32), np.zeros(2, np.float32))


def test_look_up_rounds_clips_and_keeps_black():
    image = np.array([[0, 1, 2, 3]], np.uint8)[..., None]
    levels = np.full(256, 7.0, np.float32)
    levels[:4] = 50, -3, 300, 7.6
    np.testing.assert_array_equal(look_up(image, levels)[0, :, 0], [0, 0, 255, 8])


def test_gain_and_offset_by_hand():
    """The generator draws the gain first, then the offset; 100 becomes gain x 100 + offset x 255."""
    generator = rng(4)
    gain, offset = 1 + generator.uniform(-0.2, 0.2), generator.uniform(-0.2, 0.2)
    result = GainOffset(gain=0.2, offset=0.2)(sample_of(GREYS), rng(4)).image.ravel()
    expected = np.clip(np.rint(gain * np.arange(256) + 255 * offset), 0, 255)
    np.testing.assert_allclose(result[1:], expected[1:], atol=1)
    assert result[0] == 0


@pytest.mark.parametrize("seed", range(6))
def test_gain_above_one_spreads_and_offset_above_zero_lifts(seed):
    gain = 1 + rng(seed).uniform(-0.2, 0.2)
    greys = GainOffset(gain=0.2, offset=0.0)(sample_of(GREYS), rng(seed)).image.ravel().astype(int)
    assert np.sign(greys[120] - 120) == np.sign(gain - 1)
    assert np.sign(greys[120] - greys[60] - 60) == np.sign(gain - 1)
    generator = rng(seed)
    generator.uniform(0, 0)
    offset = generator.uniform(-0.2, 0.2)
    lifted = GainOffset(gain=0.0, offset=0.2)(sample_of(GREYS), rng(seed)).image.ravel().astype(int)
    assert np.sign(lifted[120] - 120) == np.sign(offset)
    assert lifted[130] - lifted[110] == 20


@pytest.mark.parametrize("seed", range(6))
def test_gamma_above_one_is_darker(seed):
    exponent = 1 + rng(seed).uniform(-0.2, 0.2)
    greys = Gamma(0.2)(sample_of(GREYS), rng(seed)).image.ravel()
    assert greys[51] == pytest.approx(255 * 0.2**exponent, abs=0.51)
    assert (int(greys[51]) - 51) * (exponent - 1) <= 0
    assert abs(int(greys[51]) - 51) >= 1 or abs(exponent - 1) < 0.02
    assert (greys[0], greys[255]) == (0, 255)
    assert (np.diff(greys.astype(int)) >= 0).all()


def test_brightness_contrast_keeps_the_mean_where_only_contrast_is_drawn():
    image = np.array([[50, 150]], np.uint8)[..., None]  # mean 100
    generator = rng(2)
    brightness, contrast = generator.uniform(0.8, 1.2), generator.uniform(0.8, 1.2)
    result = BrightnessContrast(0.2)(sample_of(image), rng(2)).image.ravel()
    np.testing.assert_allclose(result, brightness * (100 + contrast * np.array([-50, 50])), atol=0.51)


@pytest.mark.parametrize("channels", [1, 3])
def test_clahe_is_opencv_s_where_there_is_an_echo(channels):
    image = rng(1).integers(0, 120, (64, 72, channels), np.uint8)
    image[:20] = 0
    clip = rng(9).uniform(1, 4)
    result = Clahe(clip_limit=4.0, tiles=8)(sample_of(image), rng(9)).image
    equaliser = cv2.createCLAHE(clipLimit=clip, tileGridSize=(8, 8))
    for c in range(channels):
        expected = equaliser.apply(np.ascontiguousarray(image[..., c]))
        echo = image[..., c] > 0
        np.testing.assert_array_equal(result[..., c][echo], expected[echo])
        assert not result[..., c][~echo].any()
    assert result[30:].std() > image[30:].std()
