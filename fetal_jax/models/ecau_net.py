"""ECAU-Net: Shu et al., "ECAU-Net: Efficient channel attention U-Net for fetal ultrasound cerebellum segmentation",
Biomedical Signal Processing and Control 75, 103528, 2022.

Known of it: a U-Net backbone with efficient channel attention (ECA) modules (SS_CASE_UNet, related work), and 31
million parameters (its Table 2). That is what a U-Net of 64 channels has; an ECA module adds three or five weights.

The layers are not public, so the places of the modules are chosen: at the end of each double convolution, on the way
down, at the bottom and on the way up. So skips and up-sampled features are weighted too. All else is as in plain_unet.
"""

import flax.linen as nn
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.attention import EfficientChannelAttention
from fetal_jax.layers.blocks import DoubleConv
from fetal_jax.models.encoder_decoder import Decoder, Encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel


class WeightedDoubleConv(nn.Module):
    """Two convolution units, then a weight for each channel; sub-modules `convs`, `attention`."""

    features: int
    stride: int = 1
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        convs = DoubleConv(self.features, self.stride, self.dropout, self.bn_momentum, name="convs")
        return EfficientChannelAttention(name="attention")(convs(x, train=train))


@register
def ecau_net(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """ECAU-Net with `width` channels at full resolution and `depth` halvings. Two or three dimensions."""
    block = WeightedDoubleConv
    encoder = Encoder(width, depth, block, block, dropout=dropout, bn_momentum=bn_momentum)
    decoder = Decoder(num_classes, block, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
