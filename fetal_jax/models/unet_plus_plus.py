"""UNet++ of Zhou et al., "UNet++: A nested U-Net architecture for medical image segmentation", DLMIA 2018.

From the paper: node X(i,j) at resolution 1/2^i is two 3×3 convolutions of all X(i,0) … X(i,j−1) beside X(i+1,j−1), of
twice the resolution (Eq. 1); 32·2^i channels (Sec. 4), depth 4; maxima of 2×2 pixels on the way down; a 1×1
convolution to the classes on each of X(0,1) … X(0,4) (deep supervision). From the authors' code: 2×2 transposed
convolutions that halve the channels.

Chosen: batch normalisation after each convolution. Without it and the auxiliary outputs there are 9,041,601 parameters,
as in the authors' code (github.com/MrGiovanni/UNetPlusPlus). In prediction X(0,4) alone counts, where the paper's
"accurate" mode averages all four outputs. Two or three dimensions.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.blocks import DoubleConv, UpUnit
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.models.encoder_decoder import Encoder
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel


class NestedDecoder(nn.Module):
    """All nodes X(i,j) with j > 0, as `node{i}_{j}`, and the logits of X(0,j), as `logits{j}`."""

    num_classes: int
    deep_supervision: bool = True
    dropout: float = 0.0
    bn_momentum: float = 0.9

    @nn.compact
    def __call__(
        self, features: list[Float[Array, "b ..."]], *, train: bool
    ) -> tuple[Float[Array, "b *space classes"], ...]:
        """Logits of X(0,depth), and with deep supervision those of X(0,depth−1), …, X(0,1) too: the finest first."""
        depth = len(features) - 1
        rows = [[x] for x in features]  # rows[i] holds X(i,0), X(i,1), …
        for j in range(1, depth + 1):
            for i in range(depth + 1 - j):
                rows[i].append(self._node(i, j, rows[i], rows[i + 1][j - 1], train))
        supervised = range(depth, 0, -1) if self.deep_supervision else (depth,)
        return tuple(Conv(self.num_classes, size=1, name=f"logits{j}")(rows[0][j]) for j in supervised)

    def _node(self, i: int, j: int, row: list[Array], below: Array, train: bool) -> Array:
        width = row[0].shape[-1]
        up = UpUnit(width, name=f"up{i}_{j}")(below, train=train)
        block = DoubleConv(width, dropout=self.dropout, bn_momentum=self.bn_momentum, name=f"node{i}_{j}")
        return record_intermediate(self, f"features{i}_{j}", block(jnp.concatenate([*row, up], axis=-1), train=train))


@register
def unet_plus_plus(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 32,
    depth: int = 4,
    deep_supervision: bool = True,
    dropout: float = 0.0,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """UNet++ with `width` channels at full resolution. Without `deep_supervision` only X(0,depth) gives logits."""
    encoder = Encoder(width, depth, dropout=dropout, bn_momentum=bn_momentum)
    decoder = NestedDecoder(num_classes, deep_supervision, dropout, bn_momentum)
    return SegmentationModel(encoder, decoder, 2**depth, precision)
