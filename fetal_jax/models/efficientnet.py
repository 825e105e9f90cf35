"""EfficientNet-B0 without its classifier, equal layer by layer to keras.applications.EfficientNetB0.

Tan & Le, "EfficientNet: Rethinking model scaling", ICML 2019. Names follow Keras: its layer `block2a_expand_conv` is
`params["encoder"]["block2a"]["expand_conv"]` here.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.layers.attention import SqueezeExcite
from fetal_jax.layers.conv import Conv, fan_out_normal
from fetal_jax.layers.depthwise import DepthwiseConv
from fetal_jax.layers.norm import BatchNorm
from fetal_jax.layers.tap import tap
from fetal_jax.types import Array

DROP_CONNECT = 0.2


@dataclasses.dataclass(frozen=True)
class Block:
    """One inverted residual block: its Keras name, kernel size, stride, output channels and expansion."""

    name: str
    size: int
    stride: int
    features: int
    expand: int = 6


BLOCKS = (
    Block("block1a", 3, 1, 16, expand=1),
    Block("block2a", 3, 2, 24),
    Block("block2b", 3, 1, 24),
    Block("block3a", 5, 2, 40),
    Block("block3b", 5, 1, 40),
    Block("block4a", 3, 2, 80),
    Block("block4b", 3, 1, 80),
    Block("block4c", 3, 1, 80),
    Block("block5a", 5, 1, 112),
    Block("block5b", 5, 1, 112),
    Block("block5c", 5, 1, 112),
    Block("block6a", 5, 2, 192),
    Block("block6b", 5, 1, 192),
    Block("block6c", 5, 1, 192),
    Block("block6d", 5, 1, 192),
    Block("block7a", 3, 1, 320),
)
SKIPS = ("block2a", "block3a", "block4a", "block5a")


class Normalization(nn.Module):
    """(image − mean) / √variance with constants, kept in `batch_stats` and never updated.

    Keras counts them (`count` too), and pretrained weights bring their own; by default they change nothing.
    """

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        c = image.shape[-1]
        mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        variance = self.variable("batch_stats", "variance", jnp.ones, (c,))
        self.variable("batch_stats", "count", jnp.zeros, ())
        scaled = (image.astype(jnp.float32) - mean.value) / jnp.maximum(jnp.sqrt(variance.value), 1e-7)
        return scaled.astype(image.dtype)


class MBConv(nn.Module):
    """Inverted residual: expand 1×1, depthwise k×k, squeeze-excite, project 1×1, drop-connect, add."""

    block: Block
    drop_rate: float
    bn_momentum: float = 0.99

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool):
        """Returns the block's output and the activation after the expansion [b h w expand·c], a skip feature."""
        block, c = self.block, x.shape[-1]
        expanded = x if block.expand == 1 else self._unit("expand", x, block.expand * c, train)
        y = DepthwiseConv(block.size, block.stride, name="dwconv")(expanded)
        y = jax.nn.silu(BatchNorm(self.bn_momentum, name="bn")(y, train=train))
        y = SqueezeExcite(max(1, c // 4), True, jax.nn.silu, fan_out_normal, name="se")(y)
        y = Conv(block.features, 1, use_bias=False, kernel_init=fan_out_normal, name="project_conv")(y)
        y = BatchNorm(self.bn_momentum, name="project_bn")(y, train=train)
        if block.stride == 1 and block.features == c:
            # One draw per image drops the whole branch ("stochastic depth").
            y = x + nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3))(y, deterministic=not train)
        return y, expanded

    def _unit(self, name: str, x, features: int, train: bool):
        x = Conv(features, 1, use_bias=False, kernel_init=fan_out_normal, name=f"{name}_conv")(x)
        return jax.nn.silu(BatchNorm(self.bn_momentum, name=f"{name}_bn")(x, train=train))


class EfficientNetB0(nn.Module):
    """The encoder: four skip features and the top activation.

    Keras' `correct_pad` before its stride-2 convolutions is exactly "SAME" padding. `bn_momentum` 0.99 is Keras';
    in runs under a thousand steps from random weights the running averages lag behind, and 0.9 serves better.
    """

    bn_momentum: float = 0.99

    @nn.compact
    def __call__(self, image: Float[Array, "b h w c"], *, train: bool) -> list[Float[Array, "b h2 w2 c2"]]:
        """Features of an image in [0, 1], from stride 2 (96 channels), 4 (144), 8 (240), 16 (480) to 32 (1280)."""
        x = Normalization(name="normalization")(image)
        x = self._unit("stem", x, 32, 3, 2, train)
        skips = []
        for index, block in enumerate(BLOCKS):
            rate = DROP_CONNECT * index / len(BLOCKS)
            x, expanded = MBConv(block, rate, self.bn_momentum, name=block.name)(x, train=train)
            if block.name in SKIPS:
                skips.append(tap(self, f"features{len(skips) + 1}", expanded))
        return [*skips, tap(self, "features5", self._unit("top", x, 1280, 1, 1, train))]

    def _unit(self, name: str, x, features: int, size: int, stride: int, train: bool):
        x = Conv(features, size, stride, False, fan_out_normal, name=f"{name}_conv")(x)
        return jax.nn.silu(BatchNorm(self.bn_momentum, name=f"{name}_bn")(x, train=train))
