"""The Attention U-Net of Oktay et al., "Attention U-Net: Learning where to look for the pancreas", MIDL 2018.

A thesis on trans-thalamic ultrasound used it with 64, 128, 256, 512 channels, 1024 at the bottom, maxima of 2×2 pixels
on the way down and a gate on each skip; these are the defaults. The thesis gives 15.1 million parameters, which do not
follow from its description (see docs/models.md).

Neither gives the rest. Chosen as in MONAI's AttentionUnet: two 3×3 convolutions with batch normalisation and ReLU a
level, 3×3 transposed convolution with batch normalisation and ReLU on the way up, the up-sampled feature as gating
signal, a single 3×3 convolution after the concatenation. MONAI follows that one by instance normalisation and PReLU;
here it is batch normalisation and ReLU as everywhere else. MONAI halves the resolution by stride: `down="stride"`.
"""

from fetal_jax.layers.blocks import ConvUnit
from fetal_jax.models.encoder_decoder import Decoder, Encoder, checked_down
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel


@register
def attention_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    down: str = "pool",
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """Attention U-Net. `down` is "pool" (maximum) or "stride" (of a stage's first convolution); UserError otherwise."""
    encoder = Encoder(width, depth, down=checked_down(down), dropout=dropout, bn_momentum=bn_momentum)
    decoder = Decoder(
        num_classes, ConvUnit, gated=True, up_size=3, up_activated=True, dropout=dropout, bn_momentum=bn_momentum
    )
    return SegmentationModel(encoder, decoder, 2**depth, precision)
