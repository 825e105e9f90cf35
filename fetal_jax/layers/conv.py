"""Dense convolutions in two or three dimensions, channels last."""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array

# Keras' initializer of EfficientNet kernels (keras.applications.efficientnet, CONV_KERNEL_INITIALIZER).
fan_out_normal = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")
he_normal = nn.initializers.he_normal()
PADDINGS = ("same", "symmetric")
PARTS = 8  # in which XLA:CPU is given the sum over a batch that a kernel's gradient is


def conv(
    x: Float[Array, "b *space c"],
    kernel: Float[Array, "*size i c2"],
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    padding: str = "same",
) -> Float[Array, "b *space2 c2"]:
    """Convolution over all axes between the first and the last; a 1×1 kernel is a matrix product over channels.

    Its padding is "same" (XLA, Keras: what is odd goes to the end) or "symmetric" (PyTorch: alike on both sides). They
    differ only where the stride is not 1. Raises ValueError for another word.
    """
    dims = x.ndim - 2
    axes = zip(x.shape[1:-1], kernel.shape, strict=False)
    edges = [pads(n, dilation * (size - 1) + 1, stride, padding)[1:] for n, size in axes]
    if kernel.shape[:dims] == (1,) * dims and stride == groups == 1:
        return pointwise(x, kernel[(0,) * dims])
    if dims == 3 and stride == dilation == groups == 1 and all(size % 2 for size in kernel.shape[:dims]):
        return jax.lax.platform_dependent(x, kernel, cpu=conv_by_slices, default=_conv_same)
    library: Callable[..., jax.Array] = functools.partial(
        jax.lax.conv_general_dilated,
        window_strides=(stride,) * dims,
        padding=tuple(edges),
        rhs_dilation=(dilation,) * dims,
        dimension_numbers=_layout(dims),
        feature_group_count=groups,
    )
    narrower = min(kernel.shape[-2:])
    large = narrower >= 32 and math.prod(x.shape[1:-1]) * narrower >= 64**2 * 128
    return by_parts(library, x, kernel) if dims == 2 and large else library(x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def by_parts(library: Callable, x: Float[Array, "b *space i"], kernel: Float[Array, "*size i c"]):
    """The library's convolution, whose gradient by the kernel XLA:CPU sums up over parts of the batch.

    At once, it would transpose the whole batch first: for 64² pixels of 128 channels, 128² of 64, 256² of 32 that is
    1.4 to 1.9 times slower. Smaller or narrower ones (32² of 256: 1.1, 128² of 16: 0.2 times) are as fast or faster at
    once (benchmarks/conv.py). Reverse mode only.
    """
    return library(x, kernel)


def _by_parts_backward(library, residuals, gradient):
    x, kernel = residuals

    def at_once(x, gradient):
        return jax.vjp(functools.partial(library, x), kernel.astype(x.dtype))[1](gradient)[0]

    def in_parts(x, gradient):
        pieces = (jnp.split(a.astype(jnp.float32), math.gcd(len(a), PARTS)) for a in (x, gradient))
        return sum(at_once(*piece) for piece in zip(*pieces, strict=True)).astype(kernel.dtype)

    by_x = jax.vjp(lambda x: library(x, kernel), x)[1](gradient)[0]
    return by_x, jax.lax.platform_dependent(x, gradient, cpu=in_parts, default=at_once)


by_parts.defvjp(lambda library, x, kernel: (library(x, kernel), (x, kernel)), _by_parts_backward)


@jax.custom_vjp
def pointwise(x: Float[Array, "b *space i"], kernel: Float[Array, "i c"]) -> Float[Array, "b *space c"]:
    """A matrix product over channels; its gradient by the kernel is fast on CPUs too. Reverse mode only.

    That gradient is one sum over all pixels, which XLA:CPU computes 3 to 10 times faster as a few sums.
    """
    return jnp.dot(x, kernel)


def _pointwise_backward(residuals, gradient):
    x, kernel = residuals

    def sum_over_pixels(x, gradient, parts: int):
        x, gradient = (a.reshape(parts, -1, a.shape[-1]) for a in (x, gradient))
        kwargs = {"dimension_numbers": (((1,), (1,)), ((0,), (0,))), "preferred_element_type": jnp.float32}
        return jax.lax.dot_general(x, gradient, **kwargs).sum(0).astype(kernel.dtype)

    pixels = math.prod(x.shape[:-1])
    parts = math.gcd(pixels, PARTS) if pixels >= 8 * PARTS**2 else 1
    by_kernel = jax.lax.platform_dependent(
        x,
        gradient,
        cpu=functools.partial(sum_over_pixels, parts=parts),
        default=functools.partial(sum_over_pixels, parts=1),
    )
    return jnp.dot(gradient, kernel.T), by_kernel


pointwise.defvjp(lambda x, kernel: (jnp.dot(x, kernel), (x, kernel)), _pointwise_backward)


def _conv_same(x, kernel):
    """The library's convolution of volumes."""
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=_layout(3))


def conv_by_slices(x: Float[Array, "b d h w i"], kernel: Float[Array, "k kh kw i c"]) -> Float[Array, "b d h w c"]:
    """Zero-padded convolution of volumes with odd kernels: neighbouring slices are channels of one image, convolved.

    The same sum. XLA:CPU computes 3-D convolutions in plain loops, two to ten times slower than these.
    """
    (b, depth, h, w, _), size = x.shape, kernel.shape[0]
    padded = jnp.pad(x, ((0, 0), (size // 2, size // 2), (0, 0), (0, 0), (0, 0)))
    neighbours = jnp.concatenate([padded[:, i : i + depth] for i in range(size)], axis=-1)
    flat = jnp.moveaxis(kernel, 0, 2).reshape(*kernel.shape[1:3], -1, kernel.shape[-1])
    return conv(neighbours.reshape(b * depth, h, w, -1), flat).reshape(b, depth, h, w, -1)


def pads(length: int, size: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Output length, and pixels to add before and after, along one axis. `size` is a dilated kernel's reach."""
    out = -(-length // stride)
    if padding == "same":
        total = max((out - 1) * stride + size - length, 0)
        return out, total // 2, total - total // 2
    if padding == "symmetric":
        return (length + 2 * (size // 2) - size) // stride + 1, size // 2, size // 2
    raise ValueError(f"unknown padding {padding!r}: choose one of {', '.join(PADDINGS)}")


def plus_bias(x: Float[Array, "*any c"], bias: Float[Array, " c"]) -> Float[Array, "*any c"]:
    """x + bias in the precision of x, by way of float32: the gradient of the bias is a sum over all pixels."""
    return (x.astype(jnp.float32) + bias).astype(x.dtype)


class Conv(nn.Module):
    """Convolution; parameters `kernel` [*size c features] and `bias` [features], computed in the input's precision."""

    features: int
    size: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
    dilation: int = 1
    padding: str = "same"

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c2"]:
        shape = (self.size,) * (x.ndim - 2) + (x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape).astype(x.dtype)
        y = conv(x, kernel, stride=self.stride, dilation=self.dilation, padding=self.padding)
        if not self.use_bias:
            return y
        return plus_bias(y, self.param("bias", nn.initializers.zeros, (self.features,)))


def conv_transpose_2x(x: Float[Array, "b *space i"], kernel: Float[Array, "*size i c"]) -> Float[Array, "b *space2 c"]:
    """Transposed convolution of stride 2 to exactly twice the size; kernel sides of 2 or 3.

    A pixel i adds x[i] · kernel[k] to pixel 2i + k (sides of 2) or 2i + k − 1 (sides of 3) along each axis, as
    PyTorch's with padding size // 2 − (size even), output_padding size % 2.
    """
    return _each_pixel_to_a_block(x, kernel) if kernel.shape[0] == 2 else _spread(x, kernel)


@jax.custom_vjp
def _spread(x, kernel):
    """The transposed convolution with sides of 3. Its gradients are those of the convolution that it transposes.

    The library's gradient by the kernel is a convolution with a kernel as large as the image and full of holes: on
    XLA:CPU 30 to 80 times slower than the gradient of a convolution of stride 2. Reverse mode only.
    """
    dims = x.ndim - 2
    turned = jnp.flip(kernel, tuple(range(dims)))
    twice = {"lhs_dilation": (2,) * dims, "dimension_numbers": _layout(dims)}
    return jax.lax.conv_general_dilated(x, turned, (1,) * dims, ((1, 2),) * dims, **twice)


def _gather(y, kernel):
    """The convolution that `_spread` transposes: pixel i is the sum of y[2i + k − 1] · kernel[k]."""
    dims = y.ndim - 2
    return jax.lax.conv_general_dilated(y, kernel, (2,) * dims, ((1, 0),) * dims, dimension_numbers=_layout(dims))


def _spread_backward(residuals, gradient):
    x, kernel = residuals
    swapped = kernel.swapaxes(-1, -2)
    by_x, pull_back = jax.vjp(lambda k: _gather(gradient, k), swapped)
    return by_x, pull_back(x)[0].swapaxes(-1, -2)


_spread.defvjp(lambda x, kernel: (_spread(x, kernel), (x, kernel)), _spread_backward)


def _layout(dims: int) -> tuple[str, str, str]:
    """Channels last, of images or volumes."""
    space = "DHW"[-dims:]
    return f"N{space}C", f"{space}IO", f"N{space}C"


def _each_pixel_to_a_block(x, kernel):
    """Kernels of side 2 do not overlap: a matrix product gives each pixel its block of 2×2 (×2); these interlock."""
    b, *space, i = x.shape
    dims, c = len(space), kernel.shape[-1]
    blocks = pointwise(x, jnp.moveaxis(kernel, -2, 0).reshape(i, -1)).reshape(b, *space, *(2,) * dims, c)
    order = [axis for n in range(dims) for axis in (1 + n, 1 + dims + n)]
    return blocks.transpose(0, *order, 1 + 2 * dims).reshape(b, *(2 * n for n in space), c)


class ConvTranspose(nn.Module):
    """Transposed convolution to twice the size; parameters `kernel` [*size c features] and `bias` [features]."""

    features: int
    size: int = 2
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = he_normal

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c2"]:
        shape = (self.size,) * (x.ndim - 2) + (x.shape[-1], self.features)
        y = conv_transpose_2x(x, self.param("kernel", self.kernel_init, shape).astype(x.dtype))
        if not self.use_bias:
            return y
        return plus_bias(y, self.param("bias", nn.initializers.zeros, (self.features,)))
