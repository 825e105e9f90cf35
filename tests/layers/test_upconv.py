"""Convolution of an up-sampled image: its phases, its module and its gradients against the plain two steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.layers import upconv
from fetal_jax.layers.conv import Conv, conv
from fetal_jax.layers.resample import upsample_2x

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.slow
@settings(max_examples=8, deadline=None, derandomize=True)  # the same shapes in each run: compiled once
@given(h=st.integers(1, 6), w=st.integers(1, 6), channels=st.tuples(*[st.integers(1, 4)] * 2))
def test_phases_equal_the_convolution_of_the_upsampled_image(h, w, channels):
    x, kernel = draw(0, 2, h, w, channels[0]), draw(1, 3, 3, *channels)
    assert_close(QUICK(upconv.conv_in_phases)(x, kernel), conv(upsample_2x(x), kernel))


@pytest.mark.parametrize("side", [4, 32])
def test_gradients_are_those_of_the_two_steps(side):
    x, kernel, weights = draw(2, 1, side, side, 2), draw(3, 3, 3, 2, 3), draw(4, 1, 2 * side, 2 * side, 3)

    def gradients(convolve):
        return QUICK(jax.grad(lambda x, kernel: jnp.sum(weights * jnp.sin(convolve(x, kernel))), (0, 1)))(x, kernel)

    expected = gradients(lambda x, kernel: conv(upsample_2x(x), kernel))
    for found, reference in zip(gradients(upconv.conv_of_upsampled), expected, strict=True):
        assert_close(found, reference)


@pytest.mark.parametrize("skip_channels", [0, 5])
def test_the_module_is_a_convolution_of_the_upsampled_image_beside_the_skip(skip_channels):
    x, skip = draw(5, 2, 4, 6, 3), draw(6, 2, 8, 12, skip_channels) if skip_channels else None
    module = upconv.UpConv(4)
    variables = module.init(jax.random.key(0), x, skip)
    variables = {"params": variables["params"] | {"bias": draw(7, 4)}}
    both = upsample_2x(x) if skip is None else jnp.concatenate([upsample_2x(x), skip], axis=-1)
    assert_close(module.apply(variables, x, skip), Conv(4).apply(variables, both))


def test_only_cpus_get_the_phases():
    x, kernel = jax.ShapeDtypeStruct((1, 32, 32, 2), jnp.float32), jax.ShapeDtypeStruct((3, 3, 2, 3), jnp.float32)
    traced = jax.jit(upconv.conv_of_upsampled).trace(x, kernel)
    for platform, outputs in (("cpu", 12), ("cuda", 3), ("tpu", 3)):
        assert f"x{outputs}xf32>) -> tensor<" in traced.lower(lowering_platforms=(platform,)).as_text()
