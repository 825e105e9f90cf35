"""Attention blocks that re-weight a feature map: squeeze-and-excitation and coordinate attention."""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.layers.conv import Conv
from fetal_jax.layers.norm import BatchNorm
from fetal_jax.types import Array


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation (SS_CASE_UNet Eq. 1-3): a weight in (0, 1) per image and channel.

    Eq. 2 has no biases; EfficientNet's own blocks have. `hidden` is the width of the bottleneck.
    """

    hidden: int
    use_bias: bool = False
    activation: Callable = jax.nn.relu
    kernel_init: Callable = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        kwargs = {"size": 1, "use_bias": self.use_bias, "kernel_init": self.kernel_init}
        z = jnp.mean(x, axis=(1, 2), keepdims=True)
        z = self.activation(Conv(self.hidden, name="reduce", **kwargs)(z))
        return x * jax.nn.sigmoid(Conv(x.shape[-1], name="expand", **kwargs)(z))


class CoordinateAttention(nn.Module):
    """Coordinate attention (SS_CASE_UNet Eq. 4-10): weights along rows times weights along columns."""

    reduction: int = 32
    bn_momentum: float = 0.99

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        h, c = x.shape[1], x.shape[-1]
        rows = jnp.mean(x, axis=2, keepdims=True)  # [b h 1 c], Eq. 4
        columns = jnp.mean(x, axis=1, keepdims=True).swapaxes(1, 2)  # [b w 1 c], Eq. 5
        f = jnp.concatenate([rows, columns], axis=1)  # Eq. 6
        f = Conv(max(1, c // self.reduction), size=1, name="shared")(f)
        f = jax.nn.relu(BatchNorm(self.bn_momentum, name="bn")(f, train=train))  # Eq. 7
        gate_h = jax.nn.sigmoid(Conv(c, size=1, name="gate_h")(f[:, :h]))  # Eq. 8
        gate_w = jax.nn.sigmoid(Conv(c, size=1, name="gate_w")(f[:, h:])).swapaxes(1, 2)  # Eq. 9
        return x * gate_h * gate_w  # Eq. 10
