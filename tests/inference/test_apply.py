"""Prediction: what the network is given, batches, and probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from fetal_jax.core.sharding import make_mesh
from fetal_jax.core.types import Variables
from fetal_jax.inference.apply import make_predict, network_input, predict_all

NOTHING = Variables({}, {})


def images(n, size=4):
    return [np.full((size, size, 1), i, np.float32) for i in range(n)]


class Recorder:
    """A predictor of two classes whose foreground is the image, and the batches it was given."""

    def __init__(self):
        self.shapes = []

    def __call__(self, variables, batch):
        self.shapes.append(batch.shape)
        return np.concatenate([1 - batch, batch], -1)


@pytest.mark.parametrize(("n", "batches"), [(0, 0), (1, 1), (3, 1), (4, 2), (6, 2), (7, 3)])
def test_every_image_comes_back_once_and_in_order_and_all_batches_are_full(n, batches):
    predict = Recorder()
    answers = list(predict_all(predict, NOTHING, images(n), 3))
    assert [float(answer[0, 0, 1]) for answer in answers] == list(range(n))
    assert all(answer.shape == (4, 4, 2) for answer in answers)
    assert predict.shapes == [(3, 4, 4, 1)] * batches


def test_images_are_read_no_further_than_the_batch_asked_for():
    read = []

    def reading():
        for image in images(9):
            read.append(image)
            yield image

    answers = predict_all(Recorder(), NOTHING, reading(), 2)
    next(answers)
    assert len(read) == 2


def test_the_input_fits_the_square_and_lies_between_zero_and_one():
    image = np.full((4, 8, 1), 255, np.uint8)
    image[:, 4:] = 51
    got = network_input(image, 8, 0)
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got[:2], 0)
    np.testing.assert_array_equal(got[6:], 0)
    np.testing.assert_allclose(got[2:6, :4], 1)
    np.testing.assert_allclose(got[2:6, 4:], 0.2)


def test_the_input_is_blurred_as_the_training_images_are():
    image = np.zeros((9, 9, 1), np.uint8)
    image[4, 4] = 255
    assert network_input(image, 9, 0).max() == 1
    assert network_input(image, 9, 5).max() == 0  # a median removes a lone pixel
    assert network_input(image, 9, 5).shape == (9, 9, 1)


class Linear(nn.Module):
    """Logits that are the image times the channel's number; the interface of a model."""

    channels: int

    @nn.compact
    def __call__(self, image, *, train):
        assert not train
        return image * jnp.arange(1.0, 1 + self.channels)


@pytest.mark.parametrize("channels", [1, 3])
def test_probabilities_have_the_background_first_and_sum_to_one(channels):
    predict = make_predict(Linear(channels), make_mesh())
    batch = np.random.default_rng(0).normal(size=(4, 2, 3, 1)).astype(np.float32)
    probs = predict(NOTHING, batch)
    assert probs.shape == (4, 2, 3, max(2, channels))
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-6)
    if channels == 1:
        np.testing.assert_allclose(probs[..., 1], 1 / (1 + np.exp(-batch[..., 0])), rtol=1e-5)
    else:
        np.testing.assert_allclose(probs, jax.nn.softmax(batch * np.array([1.0, 2, 3]), -1), rtol=1e-5)
