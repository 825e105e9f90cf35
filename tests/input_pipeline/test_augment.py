"""The published augmentations: exactly 32 and 8, one transform for image, labels and weights, no image
bent."""

import cv2
import numpy as np
import pytest

from fetal_jax.types import UserError
from input_pipeline import augment
from input_pipeline.augment import AUGMENTATIONS, COMPREHENSIVE, SIMPLIFIED, Variant, apply_variant, morph


@pytest.fixture
def sample():
    rng = np.random.default_rng(3)
    image = rng.integers(1, 256, (40, 56, 1), np.uint8)
    labels = np.zeros((40, 56), np.uint8)
    cv2.ellipse(labels, (26, 18), (13, 8), 20, 0, 360, 1, -1)
    return image, labels, rng.random((40, 56), np.float32)


def test_comprehensive_is_eight_morphologies_by_four_geometries():
    words = {(v.morphology, v.kernel, v.geometry) for v in COMPREHENSIVE}
    morphologies = [(m, k) for m in ("dilate", "erode", "open", "close") for k in (3, 5)]
    assert words == {(m, k, g) for m, k in morphologies for g in ("none", "zoom", "hflip", "vflip")}
    assert len(COMPREHENSIVE) == 32
    assert {(v.blur, v.intensity) for v in COMPREHENSIVE} == {(5, 0.0)}


def test_simplified_is_as_published():
    assert (
        Variant(blur=5),
        Variant(blur=5, morphology="dilate", kernel=3),
        Variant(blur=5, morphology="erode", kernel=3),
        Variant(blur=5, morphology="open", kernel=3),
        Variant(blur=5, morphology="close", kernel=3),
        Variant(blur=5, geometry="hflip"),
        Variant(blur=5, geometry="vflip"),
        Variant(blur=5, intensity=0.2),
    ) == SIMPLIFIED


def test_the_published_pairs_against_opencv(sample):
    """Every pair of both lists, computed here a second time in the paper's own words."""
    image, labels, weights = sample
    blurred = cv2.medianBlur(image[..., 0], 5)
    operations = {"dilate": cv2.dilate, "erode": cv2.erode}
    pairs = augment.comprehensive(image, labels, weights)
    for variant, (new_image, new_labels, _) in zip(COMPREHENSIVE, pairs, strict=True):
        square = np.ones((variant.kernel, variant.kernel), np.uint8)
        if variant.morphology in operations:
            mask = operations[variant.morphology](labels, square)
        elif variant.morphology == "open":
            mask = cv2.dilate(cv2.erode(labels, square), square)
        else:
            mask = cv2.erode(cv2.dilate(labels, square), square)
        if variant.geometry == "zoom":  # 40x56 becomes 48x67; the centre starts at 4, 5
            picture = cv2.resize(blurred, (67, 48), interpolation=cv2.INTER_LINEAR)[4:44, 5:61]
            mask = cv2.resize(mask, (67, 48), interpolation=cv2.INTER_NEAREST_EXACT)[4:44, 5:61]
        else:
            flip = {"none": lambda x: x, "hflip": np.fliplr, "vflip": np.flipud}[variant.geometry]
            picture, mask = flip(blurred), flip(mask)
        np.testing.assert_array_equal(new_image[..., 0], picture)
        np.testing.assert_array_equal(new_labels, mask)


def test_the_simplified_pairs_keep_the_mask_where_they_should(sample):
    image, labels, weights = sample
    pairs = augment.simplified(image, labels, weights, np.random.default_rng(0))
    blurred = cv2.medianBlur(image[..., 0], 5)
    np.testing.assert_array_equal(pairs[0][0][..., 0], blurred)
    np.testing.assert_array_equal(pairs[0][1], labels)
    np.testing.assert_array_equal(pairs[5][1], labels[:, ::-1])
    np.testing.assert_array_equal(pairs[6][0][..., 0], blurred[::-1])
    np.testing.assert_array_equal(pairs[7][1], labels)
    assert (pairs[7][0] != pairs[0][0]).any()


def test_zoom_magnifies_about_the_centre_by_a_fifth():
    labels = np.zeros((40, 60), np.uint8)
    labels[15:25, 20:40] = 1  # 10 x 20 about the centre
    _, zoomed, _ = apply_variant(Variant(geometry="zoom"), labels[..., None], labels, labels.astype(np.float32))
    expected = np.zeros((40, 60), np.uint8)
    expected[14:26, 18:42] = 1
    np.testing.assert_array_equal(zoomed, expected)


@pytest.mark.parametrize("geometry", ["none", "zoom", "hflip", "vflip"])
def test_image_labels_and_weights_move_together(geometry):
    """A block that is the same in all three stays so; only its four corners may be lost to interpolation."""
    block = np.zeros((32, 48), np.uint8)
    block[4:14, 6:30] = 1
    image, labels, weights = apply_variant(
        Variant(blur=0, geometry=geometry), block[..., None] * 200, block, block.astype(np.float32)
    )
    np.testing.assert_array_equal(labels, weights)
    assert (labels != (image[..., 0] > 100)).sum() <= 4


@pytest.mark.parametrize("variant", sorted(set(COMPREHENSIVE + SIMPLIFIED), key=repr))
def test_shapes_types_and_inputs_are_kept(variant, sample):
    before = [array.copy() for array in sample]
    result = apply_variant(variant, *sample, np.random.default_rng(0))
    for old, kept, new in zip(before, sample, result, strict=True):
        assert (new.shape, new.dtype, new.flags.c_contiguous) == (old.shape, old.dtype, True)
        assert not np.shares_memory(new, kept)
        np.testing.assert_array_equal(old, kept)


def test_three_channels_are_blurred_as_one_is(sample):
    image, labels, weights = sample
    colour, _, _ = apply_variant(Variant(), image.repeat(3, axis=2), labels, weights)
    grey, _, _ = apply_variant(Variant(), image, labels, weights)
    np.testing.assert_array_equal(colour, grey.repeat(3, axis=2))


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
    brighter = augment.adjust(image, brightness=1.1, contrast=0.8)
    np.testing.assert_array_equal(brighter[0, :, 0], [0, 106, 141])  # 1.1 * (80 + 0.8 * 20), 1.1 * (80 + 0.8 * 60)
    np.testing.assert_array_equal(augment.adjust(image, brightness=1.0, contrast=1.0), image)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_sampling_draws_every_variant_and_only_those(name, sample):
    rng = np.random.default_rng(0)
    drawn = {
        array.tobytes()
        for image, labels, _ in (augment.sample(name, rng, *sample) for _ in range(400))
        for array in [np.concatenate([image.ravel(), labels.ravel()])]
    }
    variants = [v for v in AUGMENTATIONS[name] if not v.intensity]
    listed = {
        np.concatenate([i.ravel(), la.ravel()]).tobytes() for i, la, _ in (apply_variant(v, *sample) for v in variants)
    }
    assert listed <= drawn
    assert (drawn == listed) is (len(variants) == len(AUGMENTATIONS[name]))


def test_sampling_repeats_with_its_generator(sample):
    first = augment.sample("simplified", np.random.default_rng(5), *sample)
    again = augment.sample("simplified", np.random.default_rng(5), *sample)
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_none_changes_nothing(sample):
    for old, new in zip(sample, augment.sample("none", np.random.default_rng(0), *sample), strict=True):
        np.testing.assert_array_equal(old, new)


def test_an_unknown_augmentation_is_a_user_error(sample):
    with pytest.raises(UserError, match="augment 'strong' is unknown: choose one of none, flips"):
        augment.sample("strong", np.random.default_rng(0), *sample)


def test_perturb_changes_the_look_and_not_the_place(sample):
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
    image = sample[0].astype(np.float32) / 255
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


def test_geometric_is_four_geometries_with_exact_masks_and_no_blur():
    assert len(augment.GEOMETRIC) == len(set(augment.GEOMETRIC)) == 8
    assert {v.geometry for v in augment.GEOMETRIC} == {"none", "zoom", "hflip", "vflip"}
    assert {(v.blur, v.morphology) for v in augment.GEOMETRIC} == {(0, "none")}
