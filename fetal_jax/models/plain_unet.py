"""The U-Net of Ronneberger et al., "U-Net: Convolutional networks for biomedical image segmentation", MICCAI 2015.

From the paper: two 3×3 convolutions with ReLU a level, 64 channels at full resolution and 1024 at the bottom, maxima of
2×2 pixels on the way down, 2×2 transposed convolutions that halve the channels on the way up, concatenation with the
skip, 1×1 convolution to the classes. In three dimensions: Çiçek et al., "3D U-Net", MICCAI 2016.

Chosen, as is usual since: zero padding, so that logits are as large as the image (the paper crops); batch normalisation
after each convolution; dropout, if any, after each convolution (the paper: at the end of the way down).
"""

from fetal_jax.models.network import Network
from fetal_jax.models.ushape import Decoder, Encoder


def plain_unet(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> Network:
    """U-Net with `width` channels at full resolution and `depth` halvings. Two or three dimensions."""
    rates = {"dropout": dropout, "bn_momentum": bn_momentum}
    return Network(Encoder(width, depth, **rates), Decoder(num_classes, **rates), 2**depth, precision)
