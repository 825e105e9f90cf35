"""FCRB U-Net: Shu et al., "FCRB U-Net: A novel fully connected residual block U-Net for fetal cerebellum ultrasound
image segmentation", Computers in Biology and Medicine 148, 105693, 2022.

Known of it, from its abstract: fully connected residual blocks replace the double convolutions of a U-Net; effective
channel attention is embedded; in decoding "a feature reuse module is employed to form a fully connected decoder to make
full use of deep features". SS_CASE_UNet, Table 2, gives 33 million parameters. The layers are not public.

Chosen: "fully connected" means that each layer sees all before it. In a block as in the decoder they are added, after
1×1 convolutions where channels differ, and not concatenated: concatenation inside the blocks would cost over 12 million
parameters more. The attention is the ECA module of the same authors' ECAU-Net, on the residual branch before the sum,
as in ECA-Net's own residual networks. With 64 channels this reading has 33.0 million parameters.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.attention import EfficientChannelAttention
from fetal_jax.layers.blocks import ConvUnit, UpUnit
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.resample import upsample_2x
from fetal_jax.models.encoder_decoder import Encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel


class FullyConnectedResidualBlock(nn.Module):
    """relu(s + y1 + y2), where s is x by 1×1, y1 = unit1(x), y2 = attention(unit2(s + y1)).

    Units are convolution and batch normalisation, `unit1` and `unit2` of 3×3, the `shortcut` s of 1×1; y1 has a ReLU.
    Dropout after each sum of layers.
    """

    features: int
    stride: int = 1
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        unit = functools.partial(ConvUnit, self.features, bn_momentum=self.bn_momentum, activation=None)
        shortcut = unit(size=1, stride=self.stride, name="shortcut")(x, train=train)
        first = jax.nn.relu(unit(stride=self.stride, name="unit1")(x, train=train))
        both = nn.Dropout(self.dropout)(shortcut + first, deterministic=not train)
        second = unit(name="unit2")(both, train=train)
        second = EfficientChannelAttention(name="attention")(second)
        return nn.Dropout(self.dropout)(jax.nn.relu(both + second), deterministic=not train)


class ReuseDecoder(nn.Module):
    """A U-Net's decoder in which each level adds the features of all deeper levels to what it has up-sampled.

    The level below comes by transposed convolution; the others, `reuse{level}_{theirs}` (0 is the bottleneck), by a 1×1
    unit to the width of the level, before they are up-sampled: that is the same, and cheaper.
    """

    num_classes: int
    dropout: float
    bn_momentum: float

    @nn.compact
    def __call__(self, features: list[Float[Array, "b ..."]], *, train: bool) -> Float[Array, "b *space classes"]:
        *skips, bottleneck = features
        deeper = [bottleneck]
        for level, skip in enumerate(reversed(skips), start=1):
            width = skip.shape[-1]
            x = UpUnit(width, name=f"up{level}")(deeper[-1], train=train)
            for theirs, feature in enumerate(deeper[:-1]):
                unit = ConvUnit(width, 1, bn_momentum=self.bn_momentum, name=f"reuse{level}_{theirs}")
                x = x + _enlarge(unit(feature, train=train), level - theirs)
            block = FullyConnectedResidualBlock(
                width, dropout=self.dropout, bn_momentum=self.bn_momentum, name=f"merge{level}"
            )
            x = block(jnp.concatenate([skip, x], axis=-1), train=train)
            deeper.append(record_intermediate(self, f"features{level}", x))
        return Conv(self.num_classes, size=1, name="logits")(deeper[-1])


def _enlarge(x: Array, times: int) -> Array:
    for _ in range(times):
        x = upsample_2x(x)
    return x


@register
def fcrb_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """FCRB U-Net with `width` channels at full resolution and `depth` halvings. Two or three dimensions."""
    block = FullyConnectedResidualBlock
    encoder = Encoder(width, depth, block, block, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, ReuseDecoder(num_classes, dropout, bn_momentum), 2**depth, precision)
