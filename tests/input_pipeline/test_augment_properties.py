"""Properties of every transform on any sample: shapes, types, ids, black, and its generator."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from input_pipeline.augment import AUGMENTATIONS, Chain, Chance, Sample
from input_pipeline.augment.geometry import Flip, ShiftScaleRotate, Zoom
from input_pipeline.augment.intensity import BrightnessContrast, Clahe, GainOffset, Gamma, MedianBlur
from input_pipeline.augment.masks import Morph
from input_pipeline.augment.ultrasound import DepthAttenuation, FanRotation, GainCurve, Shadow, Speckle

FIELDS = ("image", "labels", "weights", "spacing_mm")
GEOMETRIC = (Flip("horizontal"), Flip("vertical"), Zoom(1.2), ShiftScaleRotate(), FanRotation())
PHOTOMETRIC = (
    BrightnessContrast(),
    GainOffset(),
    Gamma(),
    Clahe(),
    Speckle(),
    Shadow(),
    GainCurve(),
    DepthAttenuation(),
)
OTHERS = (MedianBlur(5), Morph("dilate", 3), *AUGMENTATIONS.values())
# Each at strength 0. CLAHE has no such strength: it is switched off by its chance.
NOTHING = (
    Chain(),
    Chance(0.0, Clahe()),
    Zoom(1.0),
    ShiftScaleRotate(0.0, 0.0, 0.0),
    BrightnessContrast(0.0),
    GainOffset(0.0, 0.0),
    Gamma(0.0),
    Speckle(0.0),
    Shadow(0.0),
    GainCurve(0.0),
    DepthAttenuation(0.0),
    FanRotation(0.0),
)
some = settings(max_examples=12, deadline=None, derandomize=True)


@st.composite
def samples(draw):
    """Any image of 1 to 3 channels, with and without a black ground, its labels, weights and spacing."""
    height, width, channels = draw(st.integers(2, 48)), draw(st.integers(2, 48)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    image = rng.integers(0, 256, (height, width, channels), np.uint8)
    if draw(st.booleans()):
        image[rng.random((height, width)) < 0.5] = 0
        image[: height // 3] = 0
    ids = draw(st.lists(st.integers(0, 255), min_size=1, max_size=4))
    labels = rng.choice(np.array(ids, np.uint8), (height, width))
    weights = rng.choice(np.array([0, 0.25, 1], np.float32), (height, width))
    return Sample(image, labels, weights, draw(arrays.arrays(np.float32, 2, elements=st.sampled_from([0, 0.25, 0.5]))))


def by_name(transforms):
    return pytest.mark.parametrize("transform", transforms, ids=lambda t: repr(t)[:60])


@pytest.mark.slow
@by_name(GEOMETRIC + PHOTOMETRIC + OTHERS)
@some
@given(sample=samples(), seed=st.integers(0, 2**32))
def test_shapes_types_ids_and_inputs_are_kept(transform, sample, seed):
    before = {field: getattr(sample, field).copy() for field in FIELDS}
    result = transform(sample, np.random.default_rng(seed))
    for field, old in before.items():
        new = getattr(result, field)
        assert (new.shape, new.dtype) == (old.shape, old.dtype)
        np.testing.assert_array_equal(getattr(sample, field), old)
    assert set(np.unique(result.labels)) <= set(np.unique(sample.labels)) | {0}
    assert set(np.unique(result.weights)) <= set(np.unique(sample.weights)) | {np.float32(0)}
    np.testing.assert_array_equal(result.spacing_mm == 0, sample.spacing_mm == 0)


@pytest.mark.slow
@by_name(GEOMETRIC + PHOTOMETRIC + OTHERS)
@some
@given(sample=samples(), seed=st.integers(0, 2**32))
def test_the_generator_decides(transform, sample, seed):
    first, again = (transform(sample, np.random.default_rng(seed)) for _ in range(2))
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))


@by_name(PHOTOMETRIC)
@some
@given(sample=samples(), seed=st.integers(0, 2**32))
def test_black_stays_black_and_nothing_moves(transform, sample, seed):
    result = transform(sample, np.random.default_rng(seed))
    assert not result.image[sample.image == 0].any()
    assert result.labels is sample.labels
    assert result.weights is sample.weights
    assert result.spacing_mm is sample.spacing_mm


@pytest.mark.slow
@by_name(NOTHING)
@some
@given(sample=samples(), seed=st.integers(0, 2**32))
def test_no_strength_is_the_identity(transform, sample, seed):
    result = transform(sample, np.random.default_rng(seed))
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(result, field), getattr(sample, field))


@by_name((*GEOMETRIC, ShiftScaleRotate(0.1, 0.15, 20.0)))
@some
@given(row=st.integers(16, 30), column=st.integers(16, 30), fan=st.booleans(), seed=st.integers(0, 2**32))
def test_image_labels_and_weights_move_together(transform, row, column, fan, seed):
    """A block that is the same in all three lies in one place afterwards; only its rim may differ by interpolation."""
    labels = np.zeros((64, 64), np.uint8)
    labels[row : row + 14, column : column + 18] = 1
    ground = np.uint8(20) * fan_shape() if fan else np.zeros_like(labels)
    image = np.where(labels, np.uint8(220), ground)[..., None]
    sample = Sample(image, labels, labels.astype(np.float32), np.zeros(2, np.float32))
    result = transform(sample, np.random.default_rng(seed))
    np.testing.assert_array_equal(result.labels, result.weights)
    bright = result.image[..., 0] > 120
    rows, columns = np.nonzero(result.labels)
    np.testing.assert_allclose([np.mean(i) for i in np.nonzero(bright)], [rows.mean(), columns.mean()], atol=0.6)
    assert abs(int(bright.sum()) - len(rows)) <= 24
    assert (bright != (result.labels == 1)).sum() <= 40  # of a rim of 64 pixels and 252 inside


def fan_shape():
    """A fan of 80 degrees about (31.5, -8) in 64 x 64 pixels."""
    y, x = np.mgrid[:64, :64]
    angle, radius = np.degrees(np.arctan2(x - 31.5, y + 8)), np.hypot(x - 31.5, y + 8)
    return ((np.abs(angle) < 40) & (radius > 14) & (radius < 70)).astype(np.uint8)


def test_transforms_are_settings():
    """Equal where their fields are, and hashable."""
    assert len({*GEOMETRIC, *PHOTOMETRIC, *GEOMETRIC}) == len(GEOMETRIC + PHOTOMETRIC)
    for transform in GEOMETRIC + PHOTOMETRIC:
        assert dataclasses.replace(transform) == transform
