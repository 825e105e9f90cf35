"""Convolutions of volumes as they run on CPUs, and transposed ones, against the library and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fetal_jax.layers import conv


def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def assert_close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1.0, np.abs(expected).max()))


def library(x, kernel, *, dilated=1, padding="SAME"):
    """XLA's convolution of images or volumes."""
    space = "DHW"[-(x.ndim - 2) :]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    ones, factors = (1,) * len(space), (dilated,) * len(space)
    return jax.lax.conv_general_dilated(x, kernel, ones, padding, lhs_dilation=factors, dimension_numbers=layout)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(3, 3, 3), (1, 3, 3), (5, 1, 3)])
def test_volumes_by_slices_equal_the_librarys_convolution_and_its_gradients(size):
    x, kernel, weights = draw(0, 2, 4, 5, 6, 3), draw(1, *size, 3, 2), draw(2, 2, 4, 5, 6, 2)

    def gradients(convolve):
        return jax.grad(lambda x, kernel: jnp.sum(weights * convolve(x, kernel)), (0, 1))(x, kernel)

    assert_close(conv.conv_by_slices(x, kernel), library(x, kernel))
    for found, expected in zip(gradients(conv.conv_by_slices), gradients(library), strict=True):
        assert_close(found, expected)


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_conv_of_volumes_equals_the_librarys_at_any_dilation(padding):
    x, kernel = draw(3, 1, 5, 6, 7, 2), draw(4, 3, 3, 3, 2, 4)
    assert_close(conv.conv(x, kernel, padding=padding), library(x, kernel))
    spread = np.zeros((5, 5, 5, 2, 4), np.float32)
    spread[::2, ::2, ::2] = kernel
    assert_close(conv.conv(x, kernel, dilation=2, padding=padding), library(x, spread))


@pytest.mark.parametrize("space", [(3, 5), (2, 3, 4)])
@pytest.mark.parametrize("size", [2, 3])
def test_transposed_convolution_adds_each_pixel_times_the_kernel(space, size):
    x, kernel = draw(5, 2, *space, 3), draw(6, *(size,) * len(space), 3, 4)
    expected = np.zeros((2, *(2 * n + 2 for n in space), 4), np.float32)  # with a margin of one on each side
    for place in np.ndindex(space):
        for offset in np.ndindex(kernel.shape[: len(space)]):
            at = tuple(2 * p + o + 1 - (size == 3) for p, o in zip(place, offset, strict=True))
            expected[(slice(None), *at)] += x[(slice(None), *place)] @ kernel[offset]
    inside = (slice(None), *(slice(1, -1) for _ in space))
    assert_close(conv.conv_transpose_2x(x, kernel), expected[inside])
