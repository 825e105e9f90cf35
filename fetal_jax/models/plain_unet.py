"""The U-Net of Ronneberger et al., "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015.

From the paper: two 3×3 convolutions with ReLU a level, 64 channels at full resolution and 1024 at the bottom, maxima of
2×2 pixels on the way down, 2×2 transposed convolutions that halve the channels on the way up, concatenation with the
skip, 1×1 convolution to the classes. In three dimensions: Çiçek et al., "3D U-Net", MICCAI 2016.

Chosen, as is usual since: zero padding, so that logits are as large as the image (the paper crops); batch normalisation
after each convolution; dropout, if any, after each convolution (the paper: at the end of the way down).
"""

from fetal_jax.models.encoder_decoder import Decoder, Encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel


@register
def plain_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """U-Net with `width` channels at full resolution and `depth` halvings. Two or three dimensions."""
    encoder = Encoder(width, depth, dropout=dropout, bn_momentum=bn_momentum)
    decoder = Decoder(num_classes, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
