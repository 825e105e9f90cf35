"""Units that most networks repeat: convolution, batch normalisation, activation.

`ConvUnit`, `DoubleConv`, `BasicBlock` and `ResidualBlock` take the same arguments: a network is built of any of them.
"""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import Conv, ConvTranspose, he_normal
from fetal_jax.layers.norm import TORCH_EPSILON, BatchNorm


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, activation, dropout; sub-modules `conv` and `bn`. Padding is PyTorch's."""

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    activation: Callable | None = jax.nn.relu
    use_bias: bool = True
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        conv = Conv(
            self.features,
            self.size,
            self.stride,
            self.use_bias,
            he_normal,
            dilation=self.dilation,
            padding="symmetric",
            name="conv",
        )
        x = BatchNorm(self.bn_momentum, TORCH_EPSILON, name="bn")(conv(x), train=train)
        x = self.activation(x) if self.activation else x
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class DoubleConv(nn.Module):
    """Two units of the same width, `unit1` and `unit2`; the first may have a stride. Dropout after each."""

    features: int
    stride: int = 1
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        for name, stride in (("unit1", self.stride), ("unit2", 1)):
            unit = ConvUnit(self.features, stride=stride, dropout=self.dropout, bn_momentum=self.bn_momentum, name=name)
            x = unit(x, train=train)
        return x


class BasicBlock(nn.Module):
    """Residual block with activation after the sum: relu(x + bn(W2·relu(bn(W1·x)))); no biases.

    Sub-modules `unit1`, which has the stride, `unit2`, and, where the shape changes, a normalised 1×1 convolution of x,
    `shortcut`, in place of x. Dropout comes after `unit1`. Source: He et al., "Deep residual learning for image
    recognition", CVPR 2016, Eq. 1-2.
    """

    features: int
    stride: int = 1
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        unit = functools.partial(ConvUnit, self.features, use_bias=False, bn_momentum=self.bn_momentum)
        y = unit(stride=self.stride, dropout=self.dropout, name="unit1")(x, train=train)
        y = unit(activation=None, name="unit2")(y, train=train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = unit(size=1, stride=self.stride, activation=None, name="shortcut")(x, train=train)
        return jax.nn.relu(x + y)


class ResidualBlock(nn.Module):
    """Residual block with activation before the convolutions: x + W2·relu(bn2(W1·relu(bn1(x)))).

    Sub-modules `bn1`, `conv1`, `bn2`, `conv2`; the first convolution has the stride. Where the shape changes, a 1×1
    convolution of the raw x, `shortcut`, stands for x, so that nothing but sums lies between input and output. No
    biases. Without `preactivate` the block starts with `conv1`, as the first of a network, which sees an image, must.
    Dropout comes before `conv2`. Source: He et al., "Identity mappings in deep residual networks", ECCV 2016, Eq. 1-3
    and Fig. 4(e); Zhang et al., "Road extraction by deep residual U-Net", 2018, Fig. 1(b).
    """

    features: int
    stride: int = 1
    preactivate: bool = True
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        y = self._activated("bn1", x, train) if self.preactivate else x
        y = self._conv("conv1", y, 3, self.stride)
        y = nn.Dropout(self.dropout)(self._activated("bn2", y, train), deterministic=not train)
        y = self._conv("conv2", y, 3, 1)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = self._conv("shortcut", x, 1, self.stride)
        return x + y

    def _activated(self, name: str, x, train: bool):
        return jax.nn.relu(BatchNorm(self.bn_momentum, TORCH_EPSILON, name=name)(x, train=train))

    def _conv(self, name: str, x, size: int, stride: int):
        return Conv(self.features, size, stride, False, he_normal, padding="symmetric", name=name)(x)


class UpUnit(nn.Module):
    """Transposed convolution to twice the size, and where `bn_momentum` is given batch normalisation and ReLU."""

    features: int
    size: int = 2
    bn_momentum: float | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        x = ConvTranspose(self.features, self.size, name="conv")(x)
        if self.bn_momentum is None:
            return x
        return jax.nn.relu(BatchNorm(self.bn_momentum, TORCH_EPSILON, name="bn")(x, train=train))
