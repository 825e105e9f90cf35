"""Test-time augmentation: each transform is inverted, their mean is taken, and one program serves each size."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fetal_jax.core.sharding import make_mesh
from fetal_jax.core.types import UserError, Variables
from fetal_jax.inference.apply import make_predict
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.inference.tta import (
    IDENTITY,
    NAMES,
    TTA_TRANSFORMS,
    TTATransform,
    averaged,
    predict_transformed,
    tta_transforms,
)

NOTHING = Variables({}, {})


def noise(*shape):
    return np.random.default_rng(0).random(shape, np.float32)


def bright(_, batch):
    """A predictor of two classes whose foreground is the image."""
    return np.concatenate([1 - batch, batch], -1)


def first_pixel_only(_, batch):
    """A predictor that sees the first pixel of each image alone."""
    mask = np.zeros_like(batch)
    mask[(slice(None), *(0,) * (batch.ndim - 2))] = 1
    return bright(None, batch * mask)


def test_the_identity_is_the_first_of_every_name_and_none_has_no_other():
    for named in TTA_TRANSFORMS.values():
        assert named["none"] == (IDENTITY,)
        for transforms in named.values():
            assert transforms[0] == IDENTITY
            assert len(set(transforms)) == len(transforms)
    assert [len(TTA_TRANSFORMS[2][name]) for name in NAMES] == [1, 2, 3, 3, 9]


def test_without_another_transform_the_predictor_is_the_same_one():
    assert averaged(bright, tta_transforms("none")) is bright


@pytest.mark.parametrize("name", ["horizontal", "flips"])
def test_flips_do_not_change_an_equivariant_predictor(name):
    batch = noise(2, 5, 6, 1)
    np.testing.assert_allclose(averaged(bright, tta_transforms(name))(NOTHING, batch), bright(None, batch), rtol=1e-6)


def test_flips_are_the_mean_of_three_transforms_each_inverted():
    mean = averaged(first_pixel_only, tta_transforms("flips"))
    got = mean(NOTHING, np.ones((1, 3, 4, 1), np.float32))[0, :, :, 1]
    expected = np.zeros((3, 4))
    expected[0, 0] = expected[0, -1] = expected[-1, 0] = 1 / 3
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_horizontal_is_the_mean_of_two():
    got = averaged(first_pixel_only, tta_transforms("horizontal"))(NOTHING, np.ones((1, 3, 4, 1), np.float32))[
        0, :, :, 1
    ]
    expected = np.zeros((3, 4))
    expected[0, 0] = expected[0, -1] = 1 / 2
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_of_a_volume_right_and_left_alone_are_exchanged():
    got = averaged(first_pixel_only, tta_transforms("flips", 3))(NOTHING, np.ones((1, 2, 3, 4, 1), np.float32))[
        0, ..., 1
    ]
    expected = np.zeros((2, 3, 4))
    expected[0, 0, 0] = expected[1, 0, 0] = 1 / 2
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_scales_are_predicted_at_their_own_size_and_come_back_in_that_of_the_image():
    sizes = []

    def as_large_as_it_is(_, batch):
        sizes.append(batch.shape[1:3])
        foreground = np.full_like(batch, batch.shape[1] / 100)
        return np.concatenate([1 - foreground, foreground], -1)

    got = averaged(as_large_as_it_is, tta_transforms("scales"))(NOTHING, noise(2, 20, 40, 1))
    assert sizes == [(20, 40), (16, 32), (25, 50)]
    assert got.shape == (2, 20, 40, 2)
    np.testing.assert_allclose(got[..., 1], (0.20 + 0.16 + 0.25) / 3, rtol=1e-5)


def test_scaling_there_and_back_moves_nothing():
    row = np.linspace(0, 1, 40, dtype=np.float32)
    batch = np.broadcast_to(row[None, None, :, None], (1, 40, 40, 1))
    for probs in predict_transformed(bright, NOTHING, np.ascontiguousarray(batch), tta_transforms("scales")):
        difference = (probs[..., 1] - batch[..., 0])[0, 5:-5, 5:-5]
        assert np.abs(difference).max() < 0.1 / 40  # pixels of a ramp of 40
        assert abs(difference.mean()) < 0.001 / 40


@pytest.mark.parametrize("name", NAMES)
def test_the_mean_is_one_of_probabilities_again(name):
    batch = noise(2, 9, 12, 3)
    probs = averaged(lambda _, x: x / x.sum(-1, keepdims=True), tta_transforms(name))(NOTHING, batch)
    assert probs.dtype == np.float32
    assert probs.min() >= 0
    np.testing.assert_allclose(probs.sum(-1), 1, atol=1e-5)


class Doubled(nn.Module):
    """Logits that are twice the image; the interface of a model."""

    @nn.compact
    def __call__(self, image, *, train):
        return 2 * jnp.asarray(image)


def test_every_size_is_compiled_once():
    predict = make_predict(Doubled(), make_mesh())
    every = averaged(predict, tta_transforms("flips+scales"))
    for _ in range(2):
        every(NOTHING, noise(4, 20, 20, 1))
    assert predict._cache_size() == 3


def test_a_name_that_there_is_not_is_refused():
    with pytest.raises(
        UserError, match="tta 'rotate' is unknown: choose one of none, horizontal, flips, scales, flips"
    ):
        tta_transforms("rotate")


@pytest.mark.parametrize("name", ["horizontal", "scales", "flips+scales"])
def test_what_is_for_images_is_refused_for_volumes(name):
    with pytest.raises(
        UserError, match=r"tta '.*' is for images, .* takes volumes: choose one of none, flips, or auto$"
    ):
        tta_transforms(name, 3)


@pytest.fixture
def uneven(brain_card, brain_network):
    """A segmenter that makes something else of every transform."""

    def predict(_, batch):
        rows, columns = (np.linspace(0, 1, n, dtype=np.float32) for n in batch.shape[1:3])
        return bright(None, batch * (0.2 + 0.3 * rows[:, None, None] + 0.5 * columns[:, None]))

    return Segmenter(brain_card, brain_network, predict=predict)


@pytest.mark.parametrize("name", NAMES)
def test_in_native_pixels_the_mean_of_the_transforms_is_the_same(uneven, noisy_picture, name):
    segmenter = uneven.with_tta(name)
    members = [next(member.probabilities([noisy_picture])) for member in segmenter.tta_members()]
    assert len(members) == len(TTA_TRANSFORMS[2][name])
    together = next(segmenter.probabilities([noisy_picture]))
    np.testing.assert_allclose(together, np.mean(members, 0), atol=1e-6)
    if len(members) > 1:
        assert np.abs(together - members[0]).max() > 0.01


def test_another_augmentation_takes_the_place_of_the_first(uneven, noisy_picture):
    plain = next(uneven.probabilities([noisy_picture]))
    again = uneven.with_tta("flips").with_tta("none")
    np.testing.assert_array_equal(next(again.probabilities([noisy_picture])), plain)
    np.testing.assert_array_equal(
        next(uneven.with_tta("scales").with_tta("flips").probabilities([noisy_picture])),
        next(uneven.with_tta("flips").probabilities([noisy_picture])),
    )


def test_other_weights_keep_the_transforms(uneven, brain_network):
    segmenter = uneven.with_tta("flips").with_variables(brain_network)
    assert len(segmenter.tta_members()) == 3


def test_a_transform_is_its_own_inverse_where_it_mirrors():
    batch = noise(1, 4, 6, 2)
    for transform in (TTATransform(1), TTATransform(2)):
        np.testing.assert_array_equal(transform.invert(transform.apply(batch), (4, 6)), batch)
        assert np.abs(transform.apply(batch) - batch).max() > 0
