"""The residual U-Net of Zhang et al., "Road extraction by deep residual U-Net", IEEE GRSL 2018.

From the paper: each level is one residual block with activation before its convolutions (He et al., ECCV 2016), the
first without, as it sees an image; resolution is halved by the stride of a block's first convolution; channels double
from 64; concatenation with the skip; 1×1 convolution to the classes right after the last block.

Chosen: four halvings and 1024 channels at the bottom, as in the U-Net (the paper: three, 512); 2×2 transposed
convolutions on the way up, as in the U-Net (the paper up-samples without weights); shortcuts that change the shape are
1×1 convolutions of the raw input without normalisation. Two or three dimensions. With `preactivate=False` and
`down="pool"` it is the backbone of `attention_resunet`.
"""

import functools

from fetal_jax.layers.blocks import BasicBlock, ResidualBlock
from fetal_jax.models.encoder_decoder import Block, Decoder, Encoder, checked_down
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel

# The block of a network and its first one, by whether activation comes before the convolutions.
BLOCKS: dict[bool, tuple[Block, Block]] = {
    True: (ResidualBlock, functools.partial(ResidualBlock, preactivate=False)),
    False: (BasicBlock, BasicBlock),
}


@register
def resunet(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 64,
    depth: int = 4,
    down: str = "stride",
    preactivate: bool = True,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """Residual U-Net. `down` is "stride" (of a block's first convolution) or "pool" (maximum); UserError otherwise.

    Without `preactivate` its blocks are those of the first residual networks, with activation after the sum.
    """
    block, stem = BLOCKS[preactivate]
    encoder = Encoder(width, depth, block, stem, checked_down(down), dropout=dropout, bn_momentum=bn_momentum)
    decoder = Decoder(num_classes, block, dropout=dropout, bn_momentum=bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
