"""Attention, units of convolution, normalisation and resampling."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.layers.attention import AttentionGate, CoordinateAttention, SqueezeExcite
from fetal_jax.layers.blocks import BasicBlock, ConvUnit, DoubleConv, ResidualBlock, UpUnit
from fetal_jax.layers.depthwise import DepthwiseConv
from fetal_jax.layers.norm import BatchNorm
from fetal_jax.layers.resample import crop_to, max_pool_2x, pad_to_multiple, upsample_2x
from fetal_jax.layers.upconv import UpConv


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


@pytest.mark.slow
@pytest.mark.parametrize("module", [DepthwiseConv(5), DepthwiseConv(3, 2), SqueezeExcite(8), UpConv(8)], ids=repr)
def test_layers_of_the_case_networks_in_bfloat16_follow_float32(module):
    inputs = (draw(2, 16, 16, 32), draw(2, 32, 32, 16)) if isinstance(module, UpConv) else (draw(2, 16, 16, 32),)
    variables = module.init(jax.random.key(0), *inputs)

    @jax.jit
    def value_and_gradient(variables, inputs):
        y, pull_back = jax.vjp(module.apply, variables, *inputs)
        return y, *pull_back(jnp.ones_like(y))

    exact = value_and_gradient(variables, inputs)
    rounded = value_and_gradient(variables, jax.tree.map(lambda x: jnp.asarray(x, jnp.bfloat16), inputs))
    assert rounded[0].dtype == jnp.bfloat16
    for a, b in zip(jax.tree.leaves(rounded), jax.tree.leaves(exact), strict=True):
        assert np.abs(np.asarray(a, np.float32) - b).mean() < 0.02 * np.abs(b).mean() + 1e-6


def test_batch_norm_in_bfloat16_is_exact_where_the_mean_is_large():
    x = jnp.asarray(30 + draw(4096, 2), jnp.bfloat16)
    module = BatchNorm()
    variables = module.init(jax.random.key(0), x, train=True)
    y, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    exact = np.asarray(x, np.float32)
    expected = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-3)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(y, np.float32), expected, rtol=0.01, atol=0.005)


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


@pytest.mark.slow
@pytest.mark.parametrize("space", [(3, 5), (2, 3, 4)])
def test_attention_gate_follows_its_equations(space):
    skip, signal, module = draw(2, *space, 6), draw(2, *space, 4), AttentionGate()
    variables = module.init(jax.random.key(0), skip, signal, train=False)
    p = jax.tree.map(lambda leaf: np.asarray(leaf) + 0.1, variables["params"])

    def pointwise(name, x):  # running mean 0, variance 1
        conv, bn = p[name]["conv"], p[name]["bn"]
        y = x @ conv["kernel"].reshape(conv["kernel"].shape[-2:]) + conv["bias"]
        return y / np.sqrt(1 + 1e-5) * bn["scale"] + bn["bias"]

    weight = sigmoid(pointwise("psi", np.maximum(pointwise("skip", skip) + pointwise("gate", signal), 0)))
    assert weight.shape == (2, *space, 1)
    assert p["skip"]["conv"]["kernel"].shape[-1] == 3
    gated, found = module.apply(variables | {"params": p}, skip, signal, train=False, mutable=["intermediates"])
    np.testing.assert_allclose(found["intermediates"]["spatial_attention"], weight, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(gated, skip * weight, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("space", [(3, 4), (2, 3, 1)])
def test_up_unit_spreads_each_pixel_by_its_kernel(size, space):
    x, module = draw(2, *space, 3), UpUnit(5, size)
    params = module.init(jax.random.key(0), x, train=False)["params"]["conv"]
    kernel, bias = np.asarray(params["kernel"]), np.arange(5, dtype=np.float32)
    expected = np.zeros((2, *(2 * n for n in space), 5), np.float32) + bias
    for pixel in np.ndindex(space):
        for tap in np.ndindex(kernel.shape[:-2]):
            to = tuple(2 * i + k - (size == 3) for i, k in zip(pixel, tap, strict=True))
            if min(to) >= 0:  # what falls off the edge is lost
                expected[:, *to] += x[:, *pixel] @ kernel[tap]
    found = module.apply({"params": {"conv": {"kernel": kernel, "bias": bias}}}, x, train=False)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_up_unit_may_be_activated():
    x, module = draw(1, 3, 4, 3), UpUnit(5, 3, bn_momentum=0.9)
    variables = module.init(jax.random.key(0), x, train=True)
    y, _ = module.apply(variables, x, train=True, mutable=["batch_stats"])
    assert y.min() == 0
    assert variables["params"]["bn"]["scale"].shape == (5,)


@pytest.mark.slow
@pytest.mark.parametrize("block", [ConvUnit, DoubleConv, BasicBlock, ResidualBlock])
def test_blocks_halve_by_stride_and_drop_in_training_only(block):
    x, module = draw(1, 5, 6, 3), block(4, stride=2, dropout=0.5)
    variables = module.init(jax.random.key(0), x, train=False)

    def train(seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, x, train=True, rngs=rngs, mutable=["batch_stats"])[0]

    assert module.apply(variables, x, train=False).shape == (1, 3, 3, 4)
    assert np.abs(train(0) - train(1)).max() > 0.1


def test_residual_block_of_zero_kernels_is_the_identity():
    x, module = draw(2, 5, 6, 4), ResidualBlock(4)
    variables = module.init(jax.random.key(0), x, train=False)
    assert set(variables["params"]) == {"bn1", "conv1", "bn2", "conv2"}
    still = jax.tree.map(jnp.zeros_like, variables["params"])
    np.testing.assert_array_equal(module.apply(variables | {"params": still}, x, train=False), x)


def test_batch_norm_by_hand_and_its_running_averages():
    x = np.array([[1.0, 0.0], [3.0, 0.0]], np.float32)
    module = BatchNorm(momentum=0.9)
    variables = module.init(jax.random.key(0), x, train=True)
    y, updates = module.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(y, np.array([[-1, 0], [1, 0]]) / np.sqrt([1.001, 0.001]), rtol=1e-5)
    np.testing.assert_allclose(updates["batch_stats"]["mean"], [0.2, 0.0], rtol=1e-6)
    np.testing.assert_allclose(updates["batch_stats"]["var"], [1.0, 0.9], rtol=1e-6)


@pytest.mark.slow
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


def test_pooling_by_hand_in_value_and_gradient():
    x = jnp.array([[1.0, 2.0, 9.0], [4.0, 3.0, 9.0], [9.0, 9.0, 9.0]]).reshape(1, 3, 3, 1)
    assert max_pool_2x(x).tolist() == [[[[4.0]]]]  # the odd row and column are left out
    gradient = jax.grad(lambda x: max_pool_2x(x).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], [[0, 0, 0], [1, 0, 0], [0, 0, 0]])
    volume = draw(2, 4, 6, 8, 3)
    blocks = volume.reshape(2, 2, 2, 3, 2, 4, 2, 3)
    np.testing.assert_array_equal(max_pool_2x(volume), blocks.max((2, 4, 6)))


@pytest.mark.parametrize(("shape", "padded"), [((1, 37, 53, 1), (64, 64)), ((2, 32, 96, 3), (32, 96))])
def test_padding_is_undone_by_cropping(shape, padded):
    x = draw(*shape)
    y = pad_to_multiple(x, 32)
    assert y.shape == (shape[0], *padded, shape[3])
    assert float(jnp.abs(y).sum()) == pytest.approx(float(np.abs(x).sum()), rel=1e-5)
    np.testing.assert_array_equal(crop_to(y, shape[1:3]), x)
