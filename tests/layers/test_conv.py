"""Dense convolutions against NumPy and by hand, and their gradients against the library's own."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fetal_jax.layers import conv

QUICK = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


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


def value_and_gradients(convolve, x, kernel):
    """The value, and the gradients of its sum with random weights by x and by the kernel."""

    @QUICK
    def compute(x, kernel):
        y, pull_back = jax.vjp(convolve, x, kernel)
        return y, *pull_back(jax.random.normal(jax.random.key(0), y.shape, y.dtype))

    return compute(x, kernel)


def assert_alike(ours, library, x, kernel):
    for found, expected in zip(*(value_and_gradients(f, x, kernel) for f in (ours, library)), strict=True):
        assert found.dtype == expected.dtype
        assert_close(found, expected)


# At most some thousand places: two orders of adding a quarter of a million float32 differ by more than is allowed here.
SPACES = st.lists(st.integers(1, 40), min_size=1, max_size=2) | st.lists(st.integers(1, 12), min_size=3, max_size=3)


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True)  # the same shapes in each run: compiled once
@given(space=SPACES, channels=st.tuples(*[st.integers(1, 5)] * 2))
def test_pointwise_has_the_gradients_of_a_matrix_product(space, channels):
    x, kernel = draw(0, 4, *space, channels[0]), draw(1, *channels)
    assert_alike(conv.pointwise, jnp.dot, x, kernel)


@pytest.mark.slow
@settings(max_examples=4, deadline=None, derandomize=True)  # the same shapes in each run: compiled once
@given(
    b=st.sampled_from([1, 2, 3, 8, 12]),
    space=st.lists(st.integers(1, 7), min_size=2, max_size=3),
    size=st.integers(1, 4),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
)
def test_convolution_by_parts_has_the_librarys_gradients(b, space, size, stride, dilation):
    layout = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}[len(space)]
    kwargs = {"rhs_dilation": (dilation,) * len(space), "dimension_numbers": layout}
    strides = (stride,) * len(space)
    library = functools.partial(jax.lax.conv_general_dilated, window_strides=strides, padding="SAME", **kwargs)
    x, kernel = draw(2, b, *space, 2), draw(3, *[size] * len(space), 2, 3)
    assert_alike(functools.partial(conv.by_parts, library), library, x, kernel)


@pytest.mark.slow
@settings(max_examples=3, deadline=None, derandomize=True)  # the same shapes in each run: compiled once
@given(space=st.lists(st.integers(1, 6), min_size=2, max_size=3), channels=st.tuples(*[st.integers(1, 4)] * 2))
def test_transposed_convolution_has_the_librarys_gradients(space, channels):
    def library(x, kernel):
        dims = len(space)
        layout = {2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}[dims]
        return jax.lax.conv_transpose(
            x, kernel, (2,) * dims, ((1, 2),) * dims, dimension_numbers=layout, transpose_kernel=False
        )

    x, kernel = draw(4, 2, *space, channels[0]), draw(5, *[3] * len(space), *channels)
    flipped = jnp.flip(kernel, tuple(range(len(space))))
    assert_alike(lambda x, k: conv.conv_transpose_2x(x, jnp.flip(k, tuple(range(len(space))))), library, x, flipped)


def test_a_kernels_gradient_in_bfloat16_is_as_exact_as_the_librarys():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in (draw(6, 8, 16, 16, 3), draw(7, 3, 2)))
    exact = value_and_gradients(jnp.dot, x.astype(jnp.float32), kernel.astype(jnp.float32))[2]
    ours, library = (value_and_gradients(f, x, kernel)[2] for f in (conv.pointwise, jnp.dot))
    assert ours.dtype == jnp.bfloat16
    assert np.abs(ours - exact).max() <= np.abs(library - exact).max() + 2**-8 * np.abs(exact).max()


def test_convolutions_under_vmap():
    x, kernels = draw(8, 8, 8, 8, 2), draw(9, 3, 2, 4)

    def gradient(kernel):
        return jax.grad(lambda kernel: jnp.sum(jnp.sin(conv.conv(x, kernel[None, None]))))(kernel)

    assert_close(QUICK(jax.vmap(gradient))(kernels), np.stack([gradient(kernel) for kernel in kernels]))


@pytest.mark.parametrize(("shape", "parts"), [((8, 128, 128, 32), 8), ((6, 128, 128, 32), 2), ((8, 64, 128, 32), 1)])
def test_only_cpus_get_the_kernels_gradient_of_large_images_in_parts(shape, parts):
    x, kernel = jax.ShapeDtypeStruct(shape, jnp.float32), jax.ShapeDtypeStruct((3, 3, 32, 32), jnp.float32)
    traced = jax.jit(jax.grad(lambda x, k: jnp.sum(conv.conv(x, k)), 1)).trace(x, kernel)
    for platform, expected in (("cpu", parts), ("cuda", 1), ("tpu", 1)):
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        assert text.count("stablehlo.convolution") == expected
