"""The U-Nets of SS_CASE_UNet (its Fig. 2 and Table 4): an EfficientNet-B0 encoder, five up blocks, optional attention.

The paper gives no layer table; this one reproduces its four parameter counts (see docs/models.md).
"""

import flax.linen as nn
import jax
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.attention import CoordinateAttention, SqueezeExcite
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.upconv import UpConv
from fetal_jax.models.encoders import make_encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel

STRIDE = 32  # of the deepest feature map
WIDE, NARROW = (256, 128, 64, 32, 16), (128, 64, 32, 16, 8)
# The inputs of the squeeze are mostly positive, so a hidden ReLU unit is dead from the start for about half of all
# seeds. A width of channels/32 would leave one or two units on the narrow blocks, and often no attention at all.
LEAST_HIDDEN = 4


def squeeze_excite(channels: int, reduction: int, name: str) -> SqueezeExcite:
    """The decoder's squeeze-and-excitation: channels/reduction hidden units, but not fewer than `LEAST_HIDDEN`."""
    return SqueezeExcite(max(LEAST_HIDDEN, channels // reduction), name=name)


class UpBlock(nn.Module):
    """2× up-sampling, the skip beside it, two 3×3 convolutions with ReLU, squeeze-excite if wanted, dropout."""

    features: int
    dropout: float
    se_reduction: int | None

    @nn.compact
    def __call__(self, x, skip, *, train: bool):
        x = jax.nn.relu(UpConv(self.features, name="conv1")(x, skip))
        x = jax.nn.relu(Conv(self.features, name="conv2")(x))
        if self.se_reduction:
            x = squeeze_excite(self.features, self.se_reduction, "se")(x)
        return nn.Dropout(self.dropout)(x, deterministic=not train)


class Decoder(nn.Module):
    """From encoder features (shallow to deep) to logits at twice the shallowest resolution."""

    filters: tuple[int, ...]
    num_classes: int
    dropout: float
    se_reduction: int | None
    ca_reduction: int | None
    bn_momentum: float

    @nn.compact
    def __call__(self, features, *, train: bool) -> Float[Array, "b h w c"]:
        *skips, x = features
        if self.ca_reduction:
            x = CoordinateAttention(self.ca_reduction, self.bn_momentum, name="coordinate")(x, train=train)
        if self.se_reduction:
            skips = [
                squeeze_excite(skip.shape[-1], self.se_reduction, f"skip{level}_se")(skip)
                for level, skip in enumerate(skips, start=1)
            ]
        for level, (filters, skip) in enumerate(zip(self.filters, [*skips[::-1], None], strict=True), start=1):
            x = UpBlock(filters, self.dropout, self.se_reduction, name=f"up{level}")(x, skip, train=train)
            x = record_intermediate(self, f"features{level}", x)
        return Conv(self.num_classes, size=1, name="logits")(x)


@register
def unet(
    *,
    num_classes: int,
    precision: str = "float32",
    encoder: str = "efficientnet_b0",
    dropout: float = 0.1,
    bn_momentum: float = 0.99,
) -> SegmentationModel:
    """U-Net: no attention, the wide decoder. `dropout` is the rate in each up block."""
    decoder = Decoder(WIDE, num_classes, dropout, None, None, bn_momentum)
    return SegmentationModel(make_encoder(encoder, bn_momentum), decoder, STRIDE, precision, dims=(2,))


@register
def ca_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    encoder: str = "efficientnet_b0",
    dropout: float = 0.1,
    bn_momentum: float = 0.99,
    ca_reduction: int = 32,
) -> SegmentationModel:
    """U-Net with coordinate attention on the bottleneck."""
    decoder = Decoder(WIDE, num_classes, dropout, None, ca_reduction, bn_momentum)
    return SegmentationModel(make_encoder(encoder, bn_momentum), decoder, STRIDE, precision, dims=(2,))


@register
def se_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    encoder: str = "efficientnet_b0",
    dropout: float = 0.1,
    bn_momentum: float = 0.99,
    se_reduction: int = 32,
) -> SegmentationModel:
    """U-Net with squeeze-and-excitation on skips and up blocks, and half the filters."""
    decoder = Decoder(NARROW, num_classes, dropout, se_reduction, None, bn_momentum)
    return SegmentationModel(make_encoder(encoder, bn_momentum), decoder, STRIDE, precision, dims=(2,))


@register
def case_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    encoder: str = "efficientnet_b0",
    dropout: float = 0.1,
    bn_momentum: float = 0.99,
    se_reduction: int = 32,
    ca_reduction: int = 32,
) -> SegmentationModel:
    """CASE_UNet: both attentions, half the filters."""
    decoder = Decoder(NARROW, num_classes, dropout, se_reduction, ca_reduction, bn_momentum)
    return SegmentationModel(make_encoder(encoder, bn_momentum), decoder, STRIDE, precision, dims=(2,))
