"""Attention blocks that re-weight a feature map: by channel (SE, ECA), by row and column, by pixel (gate)."""

import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.blocks import ConvUnit
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.norm import BatchNorm


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
        dense = functools.partial(Conv, size=1, use_bias=self.use_bias, kernel_init=self.kernel_init)
        z = jnp.mean(x, axis=(1, 2), keepdims=True)
        z = self.activation(dense(self.hidden, name="reduce")(z))
        return x * jax.nn.sigmoid(dense(x.shape[-1], name="expand")(z))


class CoordinateAttention(nn.Module):
    """Coordinate attention (SS_CASE_UNet Eq. 4-10): weights along rows times weights along columns."""

    reduction: int = 32
    bn_momentum: float = 0.99

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        h, c = x.shape[1], x.shape[-1]
        rows = jnp.mean(x, axis=2, keepdims=True)  # [b h 1 c], Eq. 4
        columns = jnp.mean(x, axis=1, keepdims=True).swapaxes(1, 2)  # [b w 1 c], Eq. 5
        joint = jnp.concatenate([rows, columns], axis=1)  # Eq. 6
        f = Conv(max(1, c // self.reduction), size=1, name="shared")(joint)
        f = jax.nn.relu(BatchNorm(self.bn_momentum, name="bn")(f, train=train))  # Eq. 7
        gate_h = jax.nn.sigmoid(Conv(c, size=1, name="gate_h")(f[:, :h]))  # Eq. 8
        gate_w = jax.nn.sigmoid(Conv(c, size=1, name="gate_w")(f[:, h:])).swapaxes(1, 2)  # Eq. 9
        return x * gate_h * gate_w  # Eq. 10


class EfficientChannelAttention(nn.Module):
    """Efficient channel attention (ECA-Net, Wang et al., CVPR 2020): a weight in (0, 1) per image and channel.

    A convolution along the channels of the pooled features, without bias, where squeeze-and-excitation has two dense
    layers: `eca_size` weights in all. Equal to timm's EcaModule.
    """

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        c = x.shape[-1]
        pooled = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))[..., None]  # [b c 1]: channels are the space here
        weight = jax.nn.sigmoid(Conv(1, eca_size(c), use_bias=False, name="conv")(pooled))
        return x * weight.reshape(-1, *(1,) * (x.ndim - 2), c)


def eca_size(channels: int, gamma: float = 2, b: float = 1) -> int:
    """The odd kernel size |log2(channels) / gamma + b / gamma| of ECA-Net, but at least 3, so that channels meet.

    Odd as in the authors' code: the whole part, plus one where that is even. The paper's "nearest odd" leaves 4 open.
    """
    whole = int(abs((math.log2(channels) + b) / gamma))
    return max(3, whole + 1 - whole % 2)


class AttentionGate(nn.Module):
    """Additive attention gate: a weight in [0, 1] per pixel of a skip feature, from it and a gating signal.

    skip · sigmoid(psi(relu(W_skip·skip + W_gate·gate))), each a 1×1 convolution with bias and batch normalisation, half
    as wide as the skip inside. Source: Oktay et al., "Attention U-Net", MIDL 2018, Eq. 1-2. There the gate comes from
    the coarser scale and its map is interpolated; here both have one size, as is usual since.
    """

    bn_momentum: float = 0.9

    @nn.compact
    def __call__(
        self, skip: Float[Array, "b *space c"], gate: Float[Array, "b *space c2"], *, train: bool
    ) -> Float[Array, "b *space c"]:
        """The skip feature, weighted; its map is recorded as `spatial_attention` [b *space 1]."""

        def pointwise(name: str, x, features: int):
            return ConvUnit(features, 1, activation=None, bn_momentum=self.bn_momentum, name=name)(x, train=train)

        hidden = max(1, skip.shape[-1] // 2)
        joint = jax.nn.relu(pointwise("skip", skip, hidden) + pointwise("gate", gate, hidden))
        return skip * record_intermediate(self, "spatial_attention", jax.nn.sigmoid(pointwise("psi", joint, 1)))
