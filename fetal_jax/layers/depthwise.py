"""Depthwise convolution in two dimensions, fast on a CPU too."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import conv, fan_out_normal, pads


def native_depthwise(x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int, padding: str = "same"):
    """Depthwise convolution as the library's grouped convolution."""
    return conv(x, kernel, stride=stride, groups=x.shape[-1], padding=padding)


def _taps(x, size: int, stride: int, rows: tuple[int, int, int], columns: tuple[int, int, int], dilation: int = 1):
    """The size² shifted views of the padded image, row by row; `rows` = (output length, pad before, pad after)."""
    edges = [(0, 0, 0), (*rows[1:], dilation - 1), (*columns[1:], dilation - 1), (0, 0, 0)]
    # The barrier keeps the padded image in memory: fused, each of the views would pad anew, pixel by pixel.
    padded = jax.lax.optimization_barrier(jax.lax.pad(x, jnp.zeros((), x.dtype), edges))
    reach_h, reach_w = ((out - 1) * stride + 1 for out in (rows[0], columns[0]))
    return [padded[:, i : i + reach_h : stride, j : j + reach_w : stride] for i in range(size) for j in range(size)]


def _weighted_sum(taps, kernel):
    return sum(tap * weight for tap, weight in zip(taps, kernel.reshape(-1, kernel.shape[-1]), strict=True))


def shifted_depthwise(x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int, padding: str = "same"):
    """Depthwise convolution as k² multiply-adds of shifted images, which XLA fuses into one loop."""
    size = kernel.shape[0]
    rows, columns = (pads(n, size, stride, padding) for n in x.shape[1:3])
    return _weighted_sum(_taps(x, size, stride, rows, columns), kernel)


def shifted_gradients(x, kernel, gradient, stride: int, padding: str = "same"):
    """Gradients of `shifted_depthwise` by x and by the kernel, given the gradient of its output.

    By x: the same sum over the output's gradient, spread out by the stride, with the kernel turned around.
    By the kernel: k² sums of products in a single pass, where k² separate reductions would read the image k² times;
    first along rows, which halves the time of a sum over all pixels.
    """
    size, (h, w) = kernel.shape[0], x.shape[1:3]
    rows, columns = (pads(n, size, stride, padding) for n in (h, w))

    def turned(length, out, before):  # output length and padding of the gradient's own convolution
        return length, size - 1 - before, length + before - (out - 1) * stride - 1

    spread = _taps(gradient, size, 1, turned(h, *rows[:2]), turned(w, *columns[:2]), dilation=stride)
    products = [(tap * gradient).astype(jnp.float32) for tap in _taps(x, size, stride, rows, columns)]
    zeros = [jnp.zeros((), jnp.float32)] * len(products)
    sums = jax.lax.reduce(products, zeros, lambda a, b: [p + q for p, q in zip(a, b, strict=True)], (2,))
    by_kernel = jnp.stack([jnp.sum(total, (0, 1)) for total in jax.lax.optimization_barrier(sums)])
    return _weighted_sum(spread, kernel[::-1, ::-1]), by_kernel.reshape(kernel.shape).astype(kernel.dtype)


def native_gradients(x, kernel, gradient, stride: int, padding: str = "same"):
    """Gradients of `native_depthwise` by x and by the kernel, as the library derives them."""
    return jax.vjp(functools.partial(native_depthwise, stride=stride, padding=padding), x, kernel)[1](gradient)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv2d(
    x: Float[Array, "b h w c"], kernel: Float[Array, "k k 1 c"], stride: int = 1, padding: str = "same"
) -> Float[Array, "b h2 w2 c"]:
    """One k×k filter a channel, padded as in `conv`; differentiable in reverse mode.

    XLA:CPU runs grouped convolutions 10-100 times slower than the shifted sum (benchmarks/conv.py), so
    the sum is compiled there and the library's convolution everywhere else.
    """
    return _by_platform(shifted_depthwise, native_depthwise, stride, padding)(x, kernel)


def _by_platform(cpu: Callable, default: Callable, stride: int, padding: str) -> Callable:
    cpu, default = (functools.partial(function, stride=stride, padding=padding) for function in (cpu, default))
    return functools.partial(jax.lax.platform_dependent, cpu=cpu, default=default)


def _forward(x, kernel, stride: int, padding: str):
    return depthwise_conv2d(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: str, residuals, gradient):
    return _by_platform(shifted_gradients, native_gradients, stride, padding)(*residuals, gradient)


depthwise_conv2d.defvjp(_forward, _backward)


class DepthwiseConv(nn.Module):
    """One k×k filter a channel, no bias, computed in the input's precision; parameter `kernel` [k k 1 c]."""

    size: int = 3
    stride: int = 1
    kernel_init: nn.initializers.Initializer = fan_out_normal
    padding: str = "same"

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c"]:
        kernel = self.param("kernel", self.kernel_init, (self.size, self.size, 1, x.shape[-1])).astype(x.dtype)
        return depthwise_conv2d(x, kernel, self.stride, self.padding)
