"""Dense convolutions against NumPy and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.layers import conv


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


def test_pointwise_convolution_is_a_matrix_product():
    x, kernel = draw(8, 2, 3, 4, 5), draw(9, 1, 1, 5, 6)
    assert_close(conv.conv(x, kernel), np.einsum("bhwc,cd->bhwd", x, kernel[0, 0]))


def test_same_padding_is_keras_correct_pad_at_stride_two():
    # keras.applications.imagenet_utils.correct_pad: (k//2 − 1, k//2) for even sizes, (k//2, k//2) for odd ones.
    for size in (3, 5):
        assert conv.pads(64, size, 2, "same") == (32, size // 2 - 1, size // 2)
        assert conv.pads(37, size, 2, "same") == (19, size // 2, size // 2)


def test_initial_kernels_have_the_variance_of_keras():
    kernel = conv.fan_out_normal(jax.random.key(0), (3, 3, 64, 128))
    assert np.std(kernel) == pytest.approx(np.sqrt(2 / (9 * 128)), rel=0.02)


def test_modules_have_the_parameters_they_promise():
    x = jnp.zeros((1, 4, 4, 6))
    shapes = jax.eval_shape(lambda: conv.Conv(5).init(jax.random.key(0), x))["params"]
    assert {name: leaf.shape for name, leaf in shapes.items()} == {"kernel": (3, 3, 6, 5), "bias": (5,)}
