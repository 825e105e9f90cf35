"""Efficient channel attention against NumPy, and its kernel sizes against the authors'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.layers.attention import EfficientChannelAttention, eca_size


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(2, 3, 5, 12), (2, 3, 2, 4, 300)])
def test_eca_follows_its_equations(shape):
    x, module = draw(*shape), EfficientChannelAttention()
    variables = module.init(jax.random.key(0), x)
    kernel = np.asarray(variables["params"]["conv"]["kernel"]).ravel()
    channels, size = shape[-1], len(kernel)
    pooled = np.pad(x.reshape(2, -1, channels).mean(1), ((0, 0), (size // 2, size // 2)))
    weight = np.empty((2, channels))
    for c in range(channels):
        weight[:, c] = 1 / (1 + np.exp(-sum(kernel[k] * pooled[:, c + k] for k in range(size))))
    expected = np.stack([image * one for image, one in zip(x, weight, strict=True)])
    np.testing.assert_allclose(module.apply(variables, x), expected, rtol=1e-4, atol=1e-5)
    assert size == {12: 3, 300: 5}[channels]


@pytest.mark.parametrize(
    ("channels", "size"), [(1, 3), (8, 3), (64, 3), (127, 3), (128, 5), (512, 5), (1024, 5), (2048, 7)]
)
def test_kernel_sizes_of_the_authors(channels, size):
    assert eca_size(channels) == size


def test_a_channel_weighs_its_neighbours_only():
    x = jnp.zeros((1, 4, 4, 16)).at[..., 5].set(1.0)
    module = EfficientChannelAttention()
    variables = {"params": {"conv": {"kernel": jnp.ones((3, 1, 1))}}}
    weight = module.apply(variables, x + 1e-3) / (x + 1e-3)
    higher = np.asarray(weight[0, 0, 0] > 0.6)
    assert list(np.flatnonzero(higher)) == [4, 5, 6]
    assert weight.max() < 1


def test_it_computes_in_the_precision_of_its_input():
    x = jnp.asarray(draw(1, 3, 3, 8), jnp.bfloat16)
    module = EfficientChannelAttention()
    variables = module.init(jax.random.key(0), x)
    assert module.apply(variables, x).dtype == jnp.bfloat16
    assert variables["params"]["conv"]["kernel"].dtype == jnp.float32
