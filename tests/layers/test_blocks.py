"""Attention, normalisation and resampling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.layers.attention import CoordinateAttention, SqueezeExcite
from fetal_jax.layers.norm import BatchNorm
from fetal_jax.layers.resample import crop_to, pad_to_multiple, upsample_2x


def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_squeeze_excite_follows_equations_1_to_3():
    x, module = draw(2, 3, 5, 8), SqueezeExcite(4)
    variables = module.init(jax.random.key(0), x)
    w1, w2 = (np.asarray(variables["params"][name]["kernel"][0, 0]) for name in ("reduce", "expand"))
    weight = sigmoid(np.maximum(x.mean((1, 2)) @ w1, 0) @ w2)
    np.testing.assert_allclose(module.apply(variables, x), x * weight[:, None, None], rtol=1e-4, atol=1e-6)


def test_coordinate_attention_follows_equations_4_to_10():
    x, module = draw(2, 3, 5, 64), CoordinateAttention(reduction=32)
    variables = module.init(jax.random.key(0), x, train=False)
    p = jax.tree.map(np.asarray, variables["params"])

    def pointwise(name, z):
        return z @ p[name]["kernel"][0, 0] + p[name]["bias"]

    def gate(name, pooled):
        f = np.maximum(pointwise("shared", pooled) / np.sqrt(1 + 1e-3), 0)  # running mean 0, variance 1
        return sigmoid(pointwise(name, f))

    rows, columns = gate("gate_h", x.mean(2)), gate("gate_w", x.mean(1))
    expected = x * rows[:, :, None] * columns[:, None]
    np.testing.assert_allclose(module.apply(variables, x, train=False), expected, rtol=1e-4, atol=1e-6)


def test_coordinate_attention_tells_positions_apart():
    x, module = jnp.zeros((1, 4, 4, 64)).at[0, 1, 2].set(1.0), CoordinateAttention(reduction=4)
    variables = module.init(jax.random.key(0), x, train=False)
    weight = module.apply(variables, x + 1, train=False) / (x + 1)
    assert not np.allclose(weight[0, 1, 2], weight[0, 3, 3])
    np.testing.assert_allclose(weight[0, 0, 0], weight[0, 3, 3], rtol=1e-6)


def test_batch_norm_by_hand_and_its_running_averages():
    x = np.array([[1.0, 0.0], [3.0, 0.0]], np.float32)
    module = BatchNorm(momentum=0.9)
    variables = module.init(jax.random.key(0), x, train=True)
    y, updates = module.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, np.array([[-1, 0], [1, 0]]) / np.sqrt([1.001, 0.001]), rtol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["var"], [1.0, 0.9], rtol=1e-6)


def test_batch_norm_equals_the_library():
    x, ours = 3 * draw(4, 5, 6, 7) + 2, BatchNorm()
    library = nn.BatchNorm(use_running_average=False, momentum=0.99, epsilon=1e-3)
    variables = ours.init(jax.random.key(0), x, train=True)

    def loss(apply):
        return lambda x: jnp.sum(jnp.sin(apply(x)[0]))

    def ours_apply(x):
        return ours.apply(variables, x, train=True, mutable=["batch_stats"])

    def library_apply(x):
        return library.apply(variables, x, mutable=["batch_stats"])

    np.testing.assert_allclose(ours_apply(x)[0], library_apply(x)[0], rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), ours_apply(x)[1], library_apply(x)[1])
    gradients = jax.grad(loss(ours_apply))(x), jax.grad(loss(library_apply))(x)
    np.testing.assert_allclose(*gradients, rtol=1e-3, atol=1e-4)


def test_batch_norm_variance_of_a_constant_is_not_negative():
    x = np.full((1000, 1), 100.1, np.float32)
    y, updates = BatchNorm().init_with_output(jax.random.key(0), x, train=True)
    assert np.isfinite(y).all()
    assert updates["batch_stats"]["var"] >= 0


def test_upsampling_repeats_pixels():
    x = draw(2, 3, 5, 4)
    np.testing.assert_array_equal(upsample_2x(x), x.repeat(2, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize(("shape", "padded"), [((1, 37, 53, 1), (64, 64)), ((2, 32, 96, 3), (32, 96))])
def test_padding_is_undone_by_cropping(shape, padded):
    x = draw(*shape)
    y = pad_to_multiple(x, 32)
    assert y.shape == (shape[0], *padded, shape[3])
    assert float(jnp.abs(y).sum()) == pytest.approx(float(np.abs(x).sum()), rel=1e-5)
    np.testing.assert_array_equal(crop_to(y, shape[1:3]), x)
