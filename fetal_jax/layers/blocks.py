"""Units that most networks repeat: convolution, batch normalisation, activation."""

from collections.abc import Callable

import flax.linen as nn
import jax
from jaxtyping import Float

from fetal_jax.layers.conv import Conv, ConvTranspose, he_normal
from fetal_jax.layers.norm import TORCH_EPSILON, BatchNorm
from fetal_jax.types import Array


class ConvUnit(nn.Module):
    """Convolution with bias, batch normalisation, activation; sub-modules `conv`, `bn`. Padding is PyTorch's."""

    features: int
    size: int = 3
    stride: int = 1
    dilation: int = 1
    activation: Callable | None = jax.nn.relu
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        conv = Conv(
            self.features,
            self.size,
            self.stride,
            kernel_init=he_normal,
            dilation=self.dilation,
            padding="symmetric",
            name="conv",
        )
        x = BatchNorm(self.bn_momentum, TORCH_EPSILON, name="bn")(conv(x), train=train)
        return self.activation(x) if self.activation else x


class DoubleConv(nn.Module):
    """Two units of the same width, `unit1` and `unit2`; the first may have a stride. Dropout after each."""

    features: int
    stride: int = 1
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        for name, stride in (("unit1", self.stride), ("unit2", 1)):
            x = ConvUnit(self.features, stride=stride, bn_momentum=self.bn_momentum, name=name)(x, train=train)
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        return x


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
