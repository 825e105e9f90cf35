"""The encoder and decoder of U-Nets: stages of one kind of block, with skip features between them.

Which block, how resolution is halved, and whether skips are gated is what differs between plain_unet, resunet,
attention_unet and attention_resunet. Images have two or three dimensions.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array, UserError
from fetal_jax.layers.attention import AttentionGate
from fetal_jax.layers.blocks import DoubleConv, UpUnit
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.resample import max_pool_2x

DOWN = ("pool", "stride")  # how resolution is halved: maximum of 2×2 pixels, or stride of a stage's first convolution
Block = Callable[..., nn.Module]  # called with features, stride, dropout, bn_momentum, name


class Encoder(nn.Module):
    """`depth` + 1 stages of `width`, 2 `width`, 4 `width`, … channels; the first is a `stem`, the others a `block`."""

    width: int
    depth: int
    block: Block = DoubleConv
    stem: Block = DoubleConv
    down: str = "pool"
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> list[Float[Array, "b ..."]]:
        """The outputs of all stages, of stride 1, 2, 4, …: the skip features and, last, the bottleneck."""
        stem = self._stage(self.stem, 0, stride=1)
        features = [record_intermediate(self, "features1", stem(x, train=train))]
        for level in range(1, self.depth + 1):
            x = max_pool_2x(features[-1]) if self.down == "pool" else features[-1]
            stage = self._stage(self.block, level, stride=1 if self.down == "pool" else 2)
            features.append(record_intermediate(self, f"features{level + 1}", stage(x, train=train)))
        return features

    def _stage(self, block: Block, level: int, stride: int) -> nn.Module:
        return block(
            self.width * 2**level,
            stride=stride,
            dropout=self.dropout,
            bn_momentum=self.bn_momentum,
            name=f"stage{level + 1}",
        )


class Decoder(nn.Module):
    """At each level: up-sampling to the skip's size and width, the skip beside it, one `block`. Then logits by 1×1.

    Up-sampling is a transposed convolution with kernel side `up_size`, and where `up_activated` batch normalisation and
    ReLU. Where `gated`, what was up-sampled is the gating signal of an attention gate on the skip.
    """

    num_classes: int
    block: Block = DoubleConv
    gated: bool = False
    up_size: int = 2
    up_activated: bool = False
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, features: list[Float[Array, "b ..."]], *, train: bool) -> Float[Array, "b *space classes"]:
        *skips, x = features
        for level, skip in enumerate(reversed(skips), start=1):
            width = skip.shape[-1]
            up = UpUnit(width, self.up_size, self.bn_momentum if self.up_activated else None, name=f"up{level}")
            x = up(x, train=train)
            if self.gated:
                skip = AttentionGate(self.bn_momentum, name=f"gate{level}")(skip, x, train=train)
            block = self.block(width, dropout=self.dropout, bn_momentum=self.bn_momentum, name=f"merge{level}")
            x = record_intermediate(self, f"features{level}", block(jnp.concatenate([skip, x], axis=-1), train=train))
        return Conv(self.num_classes, size=1, name="logits")(x)


def checked_down(down: str) -> str:
    """`down`, if it is one of `DOWN`; raises UserError otherwise."""
    if down not in DOWN:
        raise UserError(f"unknown down {down!r}: choose one of {', '.join(DOWN)}")
    return down
