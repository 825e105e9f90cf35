"""Attention-ResUNet for the fetal head (Bhilwarawala & Bandyopadhyay, arXiv 2604.18148).

From the paper: gates at four decoder levels of 64, 128, 256 and 512 channels, which receive the skip and the current
decoder feature, on a residual U-Net; a final pointwise convolution. From the authors' notebook
(github.com/Ammar-ss/Attention-ResUnet): residual blocks with activation after the sum, normalised 1×1 shortcuts and no
biases; 1024 channels at the bottom; maxima of 2×2 pixels on the way down, 2×2 transposed convolutions on the way up;
gates half as wide as the skip, with the up-sampled feature as gating signal. These are the defaults.

The paper gives 14.7 million parameters. Its own code has more than twice as many, as has this (see docs/models.md).

The paper speaks of an identity-mapping backbone, which may mean activation before the convolutions (He et al., ECCV
2016), as in `resunet`: `preactivate=True`. Two or three dimensions.
"""

from fetal_jax.models.encoder_decoder import Decoder, Encoder, checked_down
from fetal_jax.models.registry import register
from fetal_jax.models.resunet import BLOCKS
from fetal_jax.models.segmentation_model import SegmentationModel


@register
def attention_resunet(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    down: str = "pool",
    preactivate: bool = False,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """Attention-ResUNet. `down` is "pool" (maximum) or "stride" (of a block's first convolution); UserError otherwise.

    With `preactivate` its blocks are those of `resunet`.
    """
    block, stem = BLOCKS[preactivate]
    encoder = Encoder(width, depth, block, stem, checked_down(down), dropout=dropout, bn_momentum=bn_momentum)
    decoder = Decoder(num_classes, block, gated=True, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
