"""The published augmentations: exactly 32 and 8, the same transform of image, labels and weights, no distortion."""

import dataclasses

import cv2
import numpy as np
import pytest

from fetal_jax.core.types import UserError
from input_pipeline import augment
from input_pipeline.augment import AUGMENTATIONS, Chain, Sample
from input_pipeline.augment.geometry import Flip, Zoom
from input_pipeline.augment.intensity import BrightnessContrast, MedianBlur, adjust
from input_pipeline.augment.masks import Morph, morph
from input_pipeline.augment.published import COMPREHENSIVE, GEOMETRIC, SIMPLIFIED, comprehensive, simplified

FIELDS = ("image", "labels", "weights", "spacing_mm")
UNKNOWN = np.zeros(2, np.float32)


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    image = rng.integers(1, 256, (40, 56, 1), np.uint8)
    labels = np.zeros((40, 56), np.uint8)
    cv2.ellipse(labels, (26, 18), (13, 8), 20, 0, 360, 1, -1)
    return Sample(image, labels, rng.random((40, 56), np.float32), np.float32([0.3, 0.4]))


def rng(seed=0):
    return np.random.default_rng(seed)


def parts(transform):
    """The transforms of a variant, by type."""
    return {type(step): step for step in transform.steps}


def test_comprehensive_is_eight_morphologies_by_four_geometries():
    words = [(*variant.steps,) for variant in COMPREHENSIVE]
    morphologies = [Morph(m, k) for m in ("dilate", "erode", "open", "close") for k in (3, 5)]
    geometries = [(), (Zoom(1.2),), (Flip("horizontal"),), (Flip("vertical"),)]
    assert words == [(MedianBlur(5), m, *g) for m in morphologies for g in geometries]
    assert len(set(words)) == 32


def test_simplified_is_as_published():
    assert tuple(variant.steps for variant in SIMPLIFIED) == (
        (MedianBlur(5),),
        (MedianBlur(5), Morph("dilate", 3)),
        (MedianBlur(5), Morph("erode", 3)),
        (MedianBlur(5), Morph("open", 3)),
        (MedianBlur(5), Morph("close", 3)),
        (MedianBlur(5), Flip("horizontal")),
        (MedianBlur(5), Flip("vertical")),
        (MedianBlur(5), BrightnessContrast(0.2)),
    )


def test_geometric_is_four_geometries_with_exact_masks_and_no_blur():
    assert len(set(GEOMETRIC)) == 8
    kinds = {kind for variant in GEOMETRIC for kind in parts(variant)}
    assert kinds == {Zoom, Flip, BrightnessContrast}
    assert sum(BrightnessContrast in parts(variant) for variant in GEOMETRIC) == 4


def test_the_published_pairs_against_opencv(sample):
    """Every pair of both lists, computed here a second time in the paper's own words."""
    blurred = cv2.medianBlur(sample.image[..., 0], 5)
    operations = {"dilate": cv2.dilate, "erode": cv2.erode}
    for variant, new in zip(COMPREHENSIVE, comprehensive(sample), strict=True):
        morphology = parts(variant)[Morph]
        square = np.ones((morphology.kernel, morphology.kernel), np.uint8)
        if morphology.operation in operations:
            mask = operations[morphology.operation](sample.labels, square)
        elif morphology.operation == "open":
            mask = cv2.dilate(cv2.erode(sample.labels, square), square)
        else:
            mask = cv2.erode(cv2.dilate(sample.labels, square), square)
        if Zoom in parts(variant):  # 40x56 becomes 48x67; the centre starts at 4, 5
            picture = cv2.resize(blurred, (67, 48), interpolation=cv2.INTER_LINEAR)[4:44, 5:61]
            mask = cv2.resize(mask, (67, 48), interpolation=cv2.INTER_NEAREST_EXACT)[4:44, 5:61]
        else:
            flip = {None: lambda x: x, Flip("horizontal"): np.fliplr, Flip("vertical"): np.flipud}
            picture, mask = (flip[parts(variant).get(Flip)](x) for x in (blurred, mask))
        np.testing.assert_array_equal(new.image[..., 0], picture)
        np.testing.assert_array_equal(new.labels, mask)


def test_the_simplified_pairs_keep_the_mask_where_they_should(sample):
    pairs = simplified(sample, rng())
    blurred = cv2.medianBlur(sample.image[..., 0], 5)
    np.testing.assert_array_equal(pairs[0].image[..., 0], blurred)
    np.testing.assert_array_equal(pairs[0].labels, sample.labels)
    np.testing.assert_array_equal(pairs[5].labels, sample.labels[:, ::-1])
    np.testing.assert_array_equal(pairs[6].image[..., 0], blurred[::-1])
    np.testing.assert_array_equal(pairs[7].labels, sample.labels)
    assert (pairs[7].image != pairs[0].image).any()


@pytest.mark.parametrize("variant", sorted(set(COMPREHENSIVE + SIMPLIFIED), key=repr))
def test_shapes_types_and_inputs_are_kept(variant, sample):
    before = {field: getattr(sample, field).copy() for field in FIELDS}
    result = variant(sample, rng())
    for field, old in before.items():
        new = getattr(result, field)
        assert (new.shape, new.dtype, new.flags.c_contiguous) == (old.shape, old.dtype, True)
        np.testing.assert_array_equal(old, getattr(sample, field))


def test_three_channels_are_blurred_as_one_is(sample):
    colour = dataclasses.replace(sample, image=sample.image.repeat(3, axis=2))
    blurred = MedianBlur(5)(colour, rng()).image
    np.testing.assert_array_equal(blurred, MedianBlur(5)(sample, rng()).image.repeat(3, axis=2))


def test_nested_classes_leave_no_gap():
    """Brain (5) with a small cavity (2): both borders move, the cavity keeps touching the brain."""
    labels = np.zeros((21, 21), np.uint8)
    labels[3:18, 3:18] = 5
    labels[8:13, 8:13] = 2
    grown, shrunk = morph(labels, "dilate", 3), morph(labels, "erode", 3)
    expected = np.zeros((21, 21), np.uint8)
    expected[2:19, 2:19] = 5
    expected[7:14, 7:14] = 2
    np.testing.assert_array_equal(grown, expected)
    expected[:] = 0
    expected[4:17, 4:17] = 5
    expected[9:12, 9:12] = 2
    np.testing.assert_array_equal(shrunk, expected)


def test_opening_removes_specks_and_closing_fills_holes():
    labels = np.zeros((15, 15), np.uint8)
    labels[4:11, 4:11] = 3
    block = labels.copy()
    labels[1, 1] = 3
    np.testing.assert_array_equal(morph(labels, "open", 3), block)
    block[7, 7] = 0
    assert morph(block, "close", 3)[7, 7] == 3


def test_morphology_of_nothing_is_nothing():
    np.testing.assert_array_equal(morph(np.zeros((6, 6), np.uint8), "dilate", 5), np.zeros((6, 6)))


def test_adjust_scales_contrast_about_the_mean_and_keeps_black():
    image = np.array([[0, 100, 140]], np.uint8)[..., None]  # mean 80
    brighter = adjust(image, brightness=1.1, contrast=0.8)
    np.testing.assert_array_equal(brighter[0, :, 0], [0, 106, 141])  # 1.1 * (80 + 0.8 * 20), 1.1 * (80 + 0.8 * 60)
    np.testing.assert_array_equal(adjust(image, brightness=1.0, contrast=1.0), image)


def packed(sample):
    return np.concatenate([sample.image.ravel(), sample.labels.ravel()]).tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flips", "geometric", "comprehensive", "simplified"])
def test_sampling_draws_every_variant_and_only_those(name, sample):
    generator = rng()
    drawn = {packed(augment.sample(name, generator, sample)) for _ in range(400)}
    options = AUGMENTATIONS[name].options
    fixed = [option for option in options if BrightnessContrast not in parts_or_none(option)]
    listed = {packed(option(sample, rng())) for option in fixed}
    assert listed <= drawn
    assert (drawn == listed) is (len(fixed) == len(options))


def parts_or_none(option):
    return parts(option) if isinstance(option, Chain) else {}


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_sampling_repeats_with_its_generator(name, sample):
    first, again = (augment.sample(name, rng(5), sample) for _ in range(2))
    for field in FIELDS:
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))


def test_the_draws_of_the_published_lists_are_numpy_s_own(sample):
    """The variant is `integers(32)` or `integers(8)`; brightness is drawn before contrast, both 0.8 to 1.2."""
    chosen = COMPREHENSIVE[rng(11).integers(32)]
    assert packed(augment.sample("comprehensive", rng(11), sample)) == packed(chosen(sample, rng()))
    seed = next(s for s in range(100) if rng(s).integers(8) == 7)
    generator = rng(seed)
    generator.integers(8)
    brightness, contrast = generator.uniform(0.8, 1.2), generator.uniform(0.8, 1.2)
    expected = adjust(augment.median_blur(sample.image), brightness=brightness, contrast=contrast)
    np.testing.assert_array_equal(augment.sample("simplified", rng(seed), sample).image, expected)


def test_none_changes_nothing(sample):
    assert augment.sample("none", rng(), sample) is sample


def test_an_unknown_augmentation_is_a_user_error(sample):
    for ask in (augment.check, augment.blurs, lambda name: augment.sample(name, rng(), sample)):
        with pytest.raises(UserError, match="augment 'strong' is unknown: choose one of none, flips"):
            ask("strong")


def test_perturb_changes_the_look_and_not_the_place():
    """A bright block keeps its centroid on a black ground that stays black, whatever is drawn."""
    image = np.zeros((32, 32, 1), np.uint8)
    image[8:20, 10:24] = 150
    for seed in range(20):
        view = augment.perturb(image, np.random.default_rng(seed))
        assert view.dtype == np.uint8
        assert (view[image == 0] == 0).all()
        mass = view[..., 0].astype(float)
        rows, cols = np.indices(mass.shape)
        np.testing.assert_allclose(
            [(rows * mass).sum() / mass.sum(), (cols * mass).sum() / mass.sum()], [13.5, 16.5], atol=0.1
        )
    assert (augment.perturb(image, np.random.default_rng(1)) != view).any()


def test_perturb_of_a_float_image_stays_in_range_and_type(sample):
    image = sample.image.astype(np.float32) / 255
    for seed in range(20):
        view = augment.perturb(image, np.random.default_rng(seed))
        assert view.dtype == np.float32
        assert view.shape == image.shape
        assert 0 <= view.min() < view.max() <= 1


def test_mask_noise_of_a_square_by_hand():
    labels = np.zeros((40, 40), np.uint8)
    labels[10:30, 10:30] = 1  # 20 x 20: dilated 22 and 24, eroded 18 and 16 a side, opened and closed the same
    sides = np.array([22, 24, 18, 16])
    expected = [*(2 * np.minimum(sides, 20) ** 2 / (sides**2 + 400)), 1, 1, 1, 1]
    np.testing.assert_allclose(augment.mask_noise(labels), expected)
    np.testing.assert_array_equal(augment.mask_noise(np.zeros((8, 8), np.uint8)), np.ones(8))


def test_mask_noise_of_a_cerebellum_at_256():
    """Two lobes and a vermis, about 94 x 36 pixels: the published masks agree with their own to about
    0.96."""
    labels = np.zeros((256, 256), np.uint8)
    cv2.ellipse(labels, (105, 128), (24, 18), 15, 0, 360, 1, -1)
    cv2.ellipse(labels, (151, 128), (24, 18), -15, 0, 360, 1, -1)
    cv2.ellipse(labels, (128, 126), (10, 8), 0, 0, 360, 1, -1)
    assert augment.mask_noise(labels).mean() == pytest.approx(0.96, abs=0.005)
