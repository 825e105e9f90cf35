"""EfficientNet-B0 to B4 without their classifier, equal layer by layer to keras.applications.EfficientNetB0 to B4, and
EfficientNet-Lite0 to Lite2, equal to TensorFlow's `efficientnet/lite`.

Tan & Le, "EfficientNet: Rethinking model scaling", ICML 2019. Names follow Keras: its layer `block2a_expand_conv` is
`params["encoder"]["block2a"]["expand_conv"]` here. PyTorch's flavour of the same networks (timm) differs in the padding
of strided convolutions and in the epsilon of the normalisation. The Lite flavour has no squeeze-excite, ReLU6 for SiLU,
and the stem, the top and the blocks beside them are not scaled.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.attention import SqueezeExcite
from fetal_jax.layers.conv import Conv, fan_out_normal
from fetal_jax.layers.depthwise import DepthwiseConv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.norm import KERAS_EPSILON, BatchNorm

DROP_CONNECT = 0.2


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted residual block: its Keras name, kernel size, stride, output channels and expansion."""

    name: str
    size: int
    stride: int
    features: int
    expand: int = 6


@dataclasses.dataclass(frozen=True)
class Stage:
    """Blocks of one width at scale B0: how many, kernel size, stride of the first, output channels and expansion."""

    repeats: int
    size: int
    stride: int
    features: int
    expand: int = 6


STAGES = (
    Stage(1, 3, 1, 16, expand=1),
    Stage(2, 3, 2, 24),
    Stage(2, 5, 2, 40),
    Stage(3, 3, 2, 80),
    Stage(3, 5, 1, 112),
    Stage(4, 5, 2, 192),
    Stage(1, 3, 1, 320),
)
STEM, TOP = 32, 1280  # channels at scale B0
SKIPS = ("block2a", "block3a", "block4a", "block5a")
SCALES = {"b0": (1.0, 1.0), "b1": (1.0, 1.1), "b2": (1.1, 1.2), "b3": (1.2, 1.4), "b4": (1.4, 1.8)}  # width, depth
LITE_SCALES = {"0": (1.0, 1.0), "1": (1.0, 1.1), "2": (1.1, 1.2)}


def scaled_width(channels: int, width: float) -> int:
    """Channels times `width`, to the nearest multiple of 8, but not below 90 % of the product."""
    exact = channels * width
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * exact else rounded


def scaled_blocks(width: float, depth: float, lite: bool = False) -> tuple[Block, ...]:
    """The blocks of all stages: `width` times the channels, `depth` times the blocks of a stage, rounded up.

    Of a Lite network the first and the last stage keep their number of blocks.
    """
    return tuple(
        Block(
            f"block{number}{chr(ord('a') + index)}",
            stage.size,
            stage.stride if index == 0 else 1,
            scaled_width(stage.features, width),
            stage.expand,
        )
        for number, stage in enumerate(STAGES, start=1)
        for index in range(stage.repeats if lite and number in (1, len(STAGES)) else math.ceil(depth * stage.repeats))
    )


class Normalization(nn.Module):
    """(image − mean) / √variance with constants, kept in `batch_stats` and never updated.

    Keras counts them (`count` too), and pretrained weights bring their own; by default they change nothing.
    """

    @nn.compact
    def __call__(self, image: Float[Array, "b *space c"]) -> Float[Array, "b *space c"]:
        c = image.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        variance = self.variable("batch_stats", "variance", jnp.ones, (c,))
        self.variable("batch_stats", "count", jnp.zeros, ())
        scaled = (image.astype(jnp.float32) - mean.value) / jnp.maximum(jnp.sqrt(variance.value), 1e-7)
        return scaled.astype(image.dtype)


def activation(lite: bool) -> Callable[[Array], Array]:
    """ReLU6 of the Lite flavour, SiLU of the others."""
    return jax.nn.relu6 if lite else jax.nn.silu


class MBConv(nn.Module):
    """Inverted residual: expand 1×1, depthwise k×k, squeeze-excite (not Lite), project 1×1, drop-connect, add."""

    block: Block
    drop_rate: float
    bn_momentum: float = 0.99
    padding: str = "same"
    epsilon: float = KERAS_EPSILON
    lite: bool = False

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool):
        """Returns the block's output and the activation after the expansion [b h w expand·c], a skip feature."""
        block, c = self.block, x.shape[-1]
        expanded = x if block.expand == 1 else self._unit("expand", x, block.expand * c, train)
        y = DepthwiseConv(block.size, block.stride, padding=self.padding, name="dwconv")(expanded)
        y = activation(self.lite)(self._bn("bn")(y, train=train))
        if not self.lite:
            y = SqueezeExcite(max(1, c // 4), True, jax.nn.silu, fan_out_normal, name="se")(y)
        y = Conv(block.features, 1, use_bias=False, kernel_init=fan_out_normal, name="project_conv")(y)
        y = self._bn("project_bn")(y, train=train)
        if block.stride == 1 and block.features == c:
            # One draw per image drops the whole branch ("stochastic depth").
            y = x + nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3))(y, deterministic=not train)
        return y, expanded

    def _unit(self, name: str, x, features: int, train: bool):
        x = Conv(features, 1, use_bias=False, kernel_init=fan_out_normal, name=f"{name}_conv")(x)
        return activation(self.lite)(self._bn(f"{name}_bn")(x, train=train))

    def _bn(self, name: str) -> BatchNorm:
        return BatchNorm(self.bn_momentum, self.epsilon, name=name)


class EfficientNet(nn.Module):
    """The encoder: four skip features and the top activation. `width` and `depth` scale B0 (`SCALES`, `LITE_SCALES`).

    Keras' `correct_pad` before its stride-2 convolutions is exactly "same" padding. `bn_momentum` 0.99 is Keras';
    in runs under a thousand steps from random weights the running averages lag behind, and 0.9 serves better.
    """

    width: float
    depth: float
    bn_momentum: float = 0.99
    padding: str = "same"
    epsilon: float = KERAS_EPSILON
    lite: bool = False

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> list[Float[Array, "b h2 w2 c2"]]:
        """Features of an image in [0, 1] at strides 2, 4, 8, 16, 32; of B0 96, 144, 240, 480, 1280 channels."""
        x = Normalization(name="normalization")(image)
        ends_width = 1.0 if self.lite else self.width
        x = self._unit("stem", x, scaled_width(STEM, ends_width), 3, 2, train)
        skips: list[Array] = []
        blocks = scaled_blocks(self.width, self.depth, self.lite)
        for index, block in enumerate(blocks):
            drop_rate = DROP_CONNECT * index / len(blocks)
            mbconv = MBConv(block, drop_rate, self.bn_momentum, self.padding, self.epsilon, self.lite, name=block.name)
            x, expanded = mbconv(x, train=train)
            if block.name in SKIPS:
                skips.append(record_intermediate(self, f"features{len(skips) + 1}", expanded))
        top = self._unit("top", x, scaled_width(TOP, ends_width), 1, 1, train)
        return [*skips, record_intermediate(self, "features5", top)]

    def _unit(self, name: str, x, features: int, size: int, stride: int, train: bool):
        conv = Conv(features, size, stride, False, fan_out_normal, padding=self.padding, name=f"{name}_conv")
        normalised = BatchNorm(self.bn_momentum, self.epsilon, name=f"{name}_bn")(conv(x), train=train)
        return activation(self.lite)(normalised)


EfficientNetB0 = functools.partial(EfficientNet, *SCALES["b0"])
