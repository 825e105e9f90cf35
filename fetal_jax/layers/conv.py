"""Dense convolutions in two or three dimensions, channels last."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.types import Array

# Keras' initializer of EfficientNet kernels (keras.applications.efficientnet, CONV_KERNEL_INITIALIZER).
fan_out_normal = nn.initializers.variance_scaling(2.0, "fan_out", "truncated_normal")
he_normal = nn.initializers.he_normal()
PADDINGS = ("same", "symmetric")


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
    if kernel.shape[:dims] == (1,) * dims and stride == groups == 1:
        return jnp.dot(x, kernel[(0,) * dims])
    axes = zip(x.shape[1:-1], kernel.shape, strict=False)
    edges = [pads(n, dilation * (size - 1) + 1, stride, padding)[1:] for n, size in axes]
    space = "DHW"[-dims:]
    layout = (f"N{space}C", f"{space}IO", f"N{space}C")
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride,) * dims,
        edges,
        rhs_dilation=(dilation,) * dims,
        dimension_numbers=layout,
        feature_group_count=groups,
    )


def pads(length: int, size: int, stride: int, padding: str) -> tuple[int, int, int]:
    """Output length, and pixels to add before and after, along one axis. `size` is a dilated kernel's reach."""
    out = -(-length // stride)
    if padding == "same":
        total = max((out - 1) * stride + size - length, 0)
        return out, total // 2, total - total // 2
    if padding == "symmetric":
        return (length + 2 * (size // 2) - size) // stride + 1, size // 2, size // 2
    raise ValueError(f"unknown padding {padding!r}: choose one of {', '.join(PADDINGS)}")


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
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)


def conv_transpose_2x(x: Float[Array, "b *space i"], kernel: Float[Array, "*size i c"]) -> Float[Array, "b *space2 c"]:
    """Transposed convolution of stride 2 to exactly twice the size; kernel sides of 2 or 3.

    A pixel i adds x[i] · kernel[k] to pixel 2i + k (sides of 2) or 2i + k − 1 (sides of 3) along each axis, as
    PyTorch's with padding size // 2 − (size even), output_padding size % 2.
    """
    dims = x.ndim - 2
    size = kernel.shape[0]
    edge = (size - 1 - (size - 2), 1)
    space = "DHW"[-dims:]
    return jax.lax.conv_general_dilated(
        x,
        jnp.flip(kernel, tuple(range(dims))),
        (1,) * dims,
        (edge,) * dims,
        lhs_dilation=(2,) * dims,
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
    )


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
        return y + self.param("bias", nn.initializers.zeros, (self.features,)).astype(x.dtype)
