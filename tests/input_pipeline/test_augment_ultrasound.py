"""The fan is found where there is one, and what a probe does to an image goes the right way."""

import dataclasses

import numpy as np
import pytest
from scipy.stats import kstest

from input_pipeline import augment
from input_pipeline.augment import Sample
from input_pipeline.augment.fan import find_fan
from input_pipeline.augment.ultrasound import DepthAttenuation, FanRotation, GainCurve, Shadow, Speckle

SIZE = 128


def rng(seed=0):
    return np.random.default_rng(seed)


def fan_mask(apex=(63.5, -20.0), half_opening=35.0, near=30.0, far=140.0):
    y, x = np.mgrid[:SIZE, :SIZE]
    angle = np.degrees(np.arctan2(x - apex[0], y - apex[1]))
    radius = np.hypot(x - apex[0], y - apex[1])
    return (np.abs(angle) < half_opening) & (radius > near) & (radius < far)


def tissue(mask, seed=0):
    """Grey noise inside the mask, labels in quarters of it, full weight."""
    image = np.where(mask, rng(seed).integers(60, 180, mask.shape), 0).astype(np.uint8)
    y, x = np.mgrid[: mask.shape[0], : mask.shape[1]]
    labels = np.where(mask, 1 + (x > SIZE / 2) + 2 * (y > SIZE / 2), 0).astype(np.uint8)
    return Sample(image[..., None], labels, np.ones(mask.shape, np.float32), np.zeros(2, np.float32))


@pytest.mark.parametrize("apex", [(63.5, -20.0), (58.0, -50.0), (66.0, 4.0)], ids=str)
@pytest.mark.parametrize("half_opening", [20.0, 35.0])
def test_the_apex_is_found_within_three_pixels(apex, half_opening):
    near, far = 12 - apex[1], 120 - apex[1]
    mask = fan_mask(apex, half_opening, near, far)
    fan = find_fan(tissue(mask).image)
    assert fan.found
    np.testing.assert_allclose(fan.apex, apex, atol=3)
    assert fan.opening == pytest.approx(2 * half_opening, abs=2)
    assert fan.mask[mask].mean() > 0.99  # only the lens between the near arc and its chord is added
    assert (fan.mask & ~mask).mean() < 0.03


def test_dark_tissue_a_grey_bar_and_text_do_not_matter():
    mask = fan_mask()
    image = tissue(mask).image
    image[60:90, 50:80] = 0  # fluid
    image[20:45, 2:5] = 200  # grey bar
    image[4:8, 100:124:3] = 255  # text
    fan = find_fan(image)
    assert fan.found
    np.testing.assert_allclose(fan.apex, (63.5, -20.0), atol=3)


@pytest.mark.parametrize("shape", ["black", "full", "disc", "speck", "frame"])
def test_without_a_fan_the_whole_frame_is_one(shape):
    y, x = np.mgrid[:SIZE, :SIZE]
    bright = {
        "black": np.zeros((SIZE, SIZE), bool),
        "full": np.ones((SIZE, SIZE), bool),
        "disc": np.hypot(x - 63.5, y - 63.5) < 50,
        "speck": np.hypot(x - 63.5, y - 63.5) < 6,
        "frame": (x > 20) & (x < 100),
    }[shape]
    fan = find_fan(np.uint8(150) * bright[..., None])
    assert not fan.found
    assert fan.mask.all()
    across, depth = fan.polar()
    assert across.min() == depth.min() == 0
    assert across.max() == depth.max() == 1
    np.testing.assert_allclose(depth[:, SIZE // 2], np.arange(SIZE) / (SIZE - 1), atol=0.02)


def test_across_and_depth_follow_the_rays():
    fan = find_fan(tissue(fan_mask()).image)
    across, depth = fan.polar()
    down, right = np.cos(np.radians(20)), np.sin(np.radians(20))
    ray = [(round(-20 + radius * down), round(63.5 + radius * right)) for radius in (45, 120)]
    assert across[ray[0]] == pytest.approx(across[ray[1]], abs=0.02)
    assert across[ray[0]] == pytest.approx((20 + 35) / 70, abs=0.04)
    assert depth[ray[0]] < depth[ray[1]]
    assert across[80, 63] == pytest.approx(0.5, abs=0.03)


def test_speckle_is_rayleigh_and_correlated():
    noise = Speckle(axial=0.8, lateral=1.6).field((400, 400), rng())
    assert noise.mean() == pytest.approx(1, abs=1e-3)
    assert noise.std() == pytest.approx(np.sqrt(4 / np.pi - 1), abs=0.02)  # of a Rayleigh variable of mean 1
    apart = noise[::12, ::16].ravel()
    assert kstest(apart, "rayleigh", args=(0, np.sqrt(2 / np.pi))).pvalue > 0.01
    # The field's correlation one pixel apart is exp(-1 / (4 sigma^2)); that of its envelope is nearly the square.
    axial, lateral = (np.corrcoef(noise.ravel(), np.roll(noise, 1, axis).ravel())[0, 1] for axis in (0, 1))
    assert axial == pytest.approx(np.exp(-1 / (2 * 0.8**2)), abs=0.06)
    assert lateral == pytest.approx(np.exp(-1 / (2 * 1.6**2)), abs=0.06)


def test_speckle_keeps_the_mean_grey():
    sample = tissue(np.ones((SIZE, SIZE), bool))
    for seed in range(5):
        image = Speckle(0.5)(sample, rng(seed)).image
        assert image.mean() == pytest.approx(sample.image.mean(), rel=0.02)
        assert image.std() > sample.image.std()


def test_a_shadow_is_a_dark_sector_below_its_start():
    sample = tissue(fan_mask())
    across, depth = find_fan(sample.image).polar()
    for seed in range(8):
        image = Shadow(strength=0.8, width=0.2)(sample, rng(seed)).image[..., 0]
        ratio = image / np.maximum(sample.image[..., 0], 1)
        dark = fan_mask() & (ratio < 0.8)
        assert (image <= sample.image[..., 0]).all()
        assert 0.01 < dark.sum() / fan_mask().sum() < 0.35
        assert np.ptp(across[dark]) < 0.2
        assert depth[dark].max() > 0.97  # it goes on to the end
        assert ratio[dark].min() > 0.18  # no more than its strength is lost


def test_gain_follows_its_sliders():
    """Even grey: every pixel at a slider's depth is multiplied by the exponential of that slider's draw."""
    sample = tissue(np.ones((SIZE, SIZE), bool))
    even = dataclasses.replace(sample, image=np.full((SIZE, SIZE, 1), 100, np.uint8))
    gains = rng(5).uniform(-0.3, 0.3, 3)
    image = GainCurve(strength=0.3, sliders=3)(even, rng(5)).image[..., 0]
    _, depth = find_fan(even.image).polar()
    for at, gain in zip((0, 0.5, 1), gains, strict=True):
        near = np.abs(depth - at) < 0.002
        np.testing.assert_allclose(image[near], 100 * np.exp(gain), atol=1)


def test_attenuation_darkens_with_depth():
    even = np.where(fan_mask()[..., None], np.uint8(200), np.uint8(0))
    sample = dataclasses.replace(tissue(fan_mask()), image=even)
    rate = rng(3).uniform(0, 1.0)
    image = DepthAttenuation(1.0)(sample, rng(3)).image[..., 0]
    _, depth = find_fan(even).polar()
    inside = fan_mask()
    np.testing.assert_allclose(image[inside], 200 * np.exp(-rate * np.clip(depth[inside], 0, 1)), atol=0.6)
    assert image[110, 63] < image[60, 63] < image[20, 63] <= 200


def test_tissue_turns_about_the_apex_and_the_fan_stays():
    mask = fan_mask()
    sample = tissue(mask)
    fan = find_fan(sample.image)
    image = sample.image.copy()
    image[2:6, 2:20] = 255  # text outside the fan
    marked = dataclasses.replace(sample, image=image, labels=np.zeros_like(sample.labels))
    marked.labels[78:81, 62:65] = 7
    turned_far = 0
    for seed in range(10):
        result = FanRotation(10.0)(marked, rng(seed))
        assert not result.image[~fan.mask & (image[..., 0] == 0)].any()
        np.testing.assert_array_equal(result.image[2:6, 2:20], 255)
        row, column = np.argwhere(result.labels == 7).mean(axis=0)
        radius = np.hypot(row - fan.apex[1], column - fan.apex[0])
        assert radius == pytest.approx(np.hypot(79 - fan.apex[1], 63 - fan.apex[0]), abs=0.7)
        angle = np.degrees(np.arctan2(column - fan.apex[0], row - fan.apex[1]))
        turned_far += abs(angle) > 3
        wedge = (result.weights == 0) & fan.mask
        assert not result.image[wedge].any()
        assert not result.labels[wedge].any()
        lost = wedge.sum() / fan.mask.sum()
        assert lost == pytest.approx(abs(angle) / fan.opening, abs=0.05)
    assert turned_far >= 4


def test_a_narrow_fan_turns_by_a_fifth_of_its_opening_at_most():
    apex = (63.5, -150.0)
    mask = fan_mask(apex, half_opening=10.0, near=160.0, far=270.0)
    sample = tissue(mask)
    assert find_fan(sample.image).found
    for seed in range(10):
        shown = FanRotation(30.0)(sample, rng(seed)).weights[mask].mean()
        assert shown > 0.75


def test_without_a_fan_everything_turns_about_the_centre():
    sample = tissue(np.ones((SIZE, SIZE), bool))
    labels = np.zeros((SIZE, SIZE), np.uint8)
    labels[62:66, 62:66] = 1
    result = FanRotation(10.0)(dataclasses.replace(sample, labels=labels), rng(0))
    np.testing.assert_allclose(np.argwhere(result.labels).mean(axis=0), 63.5, atol=0.3)
    assert (result.weights == 0).any()  # corners
    np.testing.assert_array_equal(result.weights == 0, result.image[..., 0] * result.weights == 0)


def test_ultrasound_is_off_by_default_and_every_effect_has_a_name():
    sample = tissue(fan_mask())
    for name in ("speckle", "shadow", "gain_curve", "depth_attenuation", "fan_rotation", "ultrasound"):
        changed = [augment.sample(name, rng(seed), sample).image for seed in range(3)]
        assert any((image != sample.image).any() for image in changed), name
    effects = {Speckle, Shadow, GainCurve, DepthAttenuation, FanRotation}
    for name in ("thesis", "hc18"):
        assert not {type(chance.transform) for chance in augment.AUGMENTATIONS[name].steps} & effects
