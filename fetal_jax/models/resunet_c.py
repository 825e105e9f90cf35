"""ResU-Net-c: Singh et al., "Semantic segmentation of cerebellum in 2D fetal ultrasound brain images using
convolutional neural networks", IEEE Access 9, 2021 (in the text of SS_CASE_UNet: "Chen et al.").

Known of it, from its abstract and figure captions: a U-Net with residual blocks, and dilated 3×3 convolutions "in the
last two layers". No parameter count is published.

Chosen: a layer is a level, and the last two are the two deepest, the last of the way down and the bottleneck, where
dilation widens what a pixel sees of the head; rate 2 in both. Resolution is halved there as elsewhere. A block is the
post-activation one of He et al., CVPR 2016: two 3×3 convolutions, and a 1×1 convolution on the shortcut where channels
change. Width, up-sampling and the rest are as in plain_unet.

The README of SS_CASE_UNet has results of a "ReU-Net" instead. A paper of that name exists ("An automated deep learning
model for the cerebellum segmentation from fetal brain images", BioMed Research International, 2022): residual blocks,
and a Wiener filter "over the last 2 layers". The README does not say which of the two it means. This network stands for
both; the filter is left out.
"""

import functools
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.blocks import ConvUnit
from fetal_jax.models.encoder_decoder import Decoder, Encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel

DILATED_LEVELS = 2


class DilatedResidualBlock(nn.Module):
    """relu(x + unit2(unit1(x))) with dilated 3×3 units; where channels change, `shortcut`, a 1×1 unit, stands for x.

    A unit is convolution and batch normalisation, and `unit1` has a ReLU. Dropout after each ReLU.
    """

    features: int
    stride: int = 1
    dilation: int = 1
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        unit = functools.partial(ConvUnit, self.features, bn_momentum=self.bn_momentum)
        first = unit(stride=self.stride, dilation=self.dilation, dropout=self.dropout, name="unit1")
        y = unit(dilation=self.dilation, activation=None, name="unit2")(first(x, train=train), train=train)
        if self.stride != 1 or x.shape[-1] != self.features:
            x = unit(size=1, stride=self.stride, activation=None, name="shortcut")(x, train=train)
        return nn.Dropout(self.dropout)(jax.nn.relu(x + y), deterministic=not train)


@register
def resunet_c(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    dilation: int = 2,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """ResU-Net-c; `dilation` is that of the two deepest of its `depth` + 1 levels. Two or three dimensions."""

    def block(features: int, **options: Any) -> DilatedResidualBlock:
        deep = features > width * 2 ** (depth - DILATED_LEVELS)
        return DilatedResidualBlock(features, dilation=dilation if deep else 1, **options)

    encoder = Encoder(width, depth, block, block, dropout=dropout, bn_momentum=bn_momentum)
    decoder = Decoder(num_classes, DilatedResidualBlock, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
