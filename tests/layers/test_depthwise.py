import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.layers import depthwise

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.slow
@settings(max_examples=12, deadline=None, derandomize=True)  # the same shapes in each run: compiled once
@given(
    h=st.integers(1, 13),
    w=st.integers(1, 13),
    size=st.sampled_from([1, 3, 5]),
    stride=st.sampled_from([1, 2, 3]),
    channels=st.integers(1, 4),
    padding=st.sampled_from(["same", "symmetric"]),
)
def test_depthwise_equals_the_library_in_value_and_both_gradients(h, w, size, stride, channels, padding):
    x, kernel = draw(0, 2, h, w, channels), draw(1, size, size, 1, channels)
    expected = depthwise.native_depthwise(x, kernel, stride, padding)
    g = draw(2, *expected.shape)

    @QUICK
    def ours(x, kernel, g):
        y, pull_back = jax.vjp(lambda x, kernel: depthwise.depthwise_conv2d(x, kernel, stride, padding), x, kernel)
        return y, *pull_back(g)

    for found, reference in zip(
        ours(x, kernel, g), (expected, *depthwise.native_gradients(x, kernel, g, stride, padding)), strict=True
    ):
        assert_close(found, reference)


@pytest.mark.slow
@pytest.mark.parametrize("size", [3, 5])
@pytest.mark.parametrize(("h", "w", "c"), [(16, 24, 96), (7, 9, 144)])
def test_depthwise_at_the_strides_and_widths_of_efficientnet(h, w, c, size):
    x, kernel = draw(3, 2, h, w, c), draw(4, size, size, 1, c)
    g = draw(5, *depthwise.native_depthwise(x, kernel, 2).shape)
    assert_close(depthwise.shifted_depthwise(x, kernel, 2), depthwise.native_depthwise(x, kernel, 2))
    for ours, native in zip(
        depthwise.shifted_gradients(x, kernel, g, 2), depthwise.native_gradients(x, kernel, g, 2), strict=True
    ):
        assert_close(ours, native)


def test_depthwise_by_hand():
    x = np.arange(1.0, 10.0, dtype=np.float32).reshape(1, 3, 3, 1)
    kernel = np.ones((3, 3, 1, 1), np.float32)
    expected = [[12, 21, 16], [27, 45, 33], [24, 39, 28]]
    np.testing.assert_array_equal(depthwise.depthwise_conv2d(x, kernel)[0, :, :, 0], expected)
    np.testing.assert_array_equal(depthwise.depthwise_conv2d(x, kernel, 2)[0, :, :, 0], [[12, 16], [24, 28]])


def test_depthwise_under_vmap():
    x, kernels = draw(6, 2, 5, 6, 3), draw(7, 4, 3, 3, 1, 3)
    found = jax.vmap(depthwise.depthwise_conv2d, in_axes=(None, 0))(x, kernels)
    assert_close(found, np.stack([depthwise.native_depthwise(x, kernel, 1) for kernel in kernels]))


@pytest.mark.parametrize(("platform", "native"), [("cpu", False), ("cuda", True), ("tpu", True)])
def test_each_platform_gets_its_own_lowering(platform, native):
    def loss(x, kernel):
        return jnp.sum(depthwise.depthwise_conv2d(x, kernel, 2))

    x, kernel = jnp.zeros((1, 8, 8, 4)), jnp.zeros((3, 3, 1, 4))
    traced = jax.jit(jax.grad(loss, argnums=(0, 1))).trace(x, kernel)
    assert ("stablehlo.convolution" in traced.lower(lowering_platforms=(platform,)).as_text()) == native


def test_the_module_has_the_parameters_it_promises():
    x = jnp.zeros((1, 4, 4, 6))
    shapes = jax.eval_shape(lambda: depthwise.DepthwiseConv(5, 2).init(jax.random.key(0), x))["params"]
    assert {name: leaf.shape for name, leaf in shapes.items()} == {"kernel": (5, 5, 1, 6)}
