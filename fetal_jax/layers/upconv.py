"""Convolution of an up-sampled image beside a skip feature, without the up-sampled copy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import conv, plus_bias
from fetal_jax.layers.resample import upsample_2x


class UpConv(nn.Module):
    """3×3 convolution of what is up-sampled by 2, with the skip (if any) as further channels; as `Conv` of size 3.

    Parameters `kernel` [3 3 c+c2 features] and `bias` [features], computed in the input's precision.
    """

    features: int
    kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self, x: Float[Array, "b h w c"], skip: Float[Array, "b h2 w2 c2"] | None
    ) -> Float[Array, "b h2 w2 f"]:
        deep, wide = x.shape[-1], 0 if skip is None else skip.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (3, 3, deep + wide, self.features)).astype(x.dtype)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        y = conv_of_upsampled(x, kernel[:, :, :deep])
        return plus_bias(y if skip is None else y + conv(skip, kernel[:, :, deep:]), bias)


@jax.custom_vjp
def conv_of_upsampled(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i c"]) -> Float[Array, "b h2 w2 c"]:
    """conv(upsample_2x(x), kernel), on CPUs in four phases; below 32² pixels, to prepare their kernels costs more.

    Reverse mode only. The gradients are those of the two steps: by the phases' kernels they would be slower.
    """
    if x.shape[1] * x.shape[2] < 32**2:
        return _in_two_steps(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=conv_in_phases, default=_in_two_steps)


def _in_two_steps(x, kernel):
    return conv(upsample_2x(x), kernel)


def _backward(residuals, gradient):
    return jax.vjp(_in_two_steps, *residuals)[1](gradient)


conv_of_upsampled.defvjp(lambda x, kernel: (conv_of_upsampled(x, kernel), (x, kernel)), _backward)


def conv_in_phases(x: Float[Array, "b h w i"], kernel: Float[Array, "3 3 i c"]) -> Float[Array, "b h2 w2 c"]:
    """The same sum as 2×2 convolutions of the small image: where two taps meet one source pixel, their weights add up.

    Even rows see the pixels (m−1, m) with weights (k0, k1 + k2), odd rows (m, m+1) with (k0 + k1, k2); so do columns.
    That is 4/9 of the arithmetic. One convolution gives all four phases, and they interlock.
    """
    (b, h, w, _), c = x.shape, kernel.shape[-1]
    phases = [_folded(_folded(kernel, 0, p), 1, q) for p in (0, 1) for q in (0, 1)]
    joint = jnp.concatenate(phases, axis=-1)
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(jnp.asarray(x), joint, (1, 1), ((1, 1), (1, 1)), dimension_numbers=layout)
    parts = [y[:, p : p + h, q : q + w, (2 * p + q) * c : (2 * p + q + 1) * c] for p in (0, 1) for q in (0, 1)]
    rows = [jnp.concatenate(parts[2 * p : 2 * p + 2], axis=-1) for p in (0, 1)]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, c)


def _folded(kernel, axis: int, phase: int):
    """Three taps along an axis as the two of an even (0) or odd (1) phase."""
    first, middle, last = jnp.split(kernel, 3, axis)
    return jnp.concatenate([first + middle, last] if phase else [first, middle + last], axis)
