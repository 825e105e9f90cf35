"""Swin U-Net: a U of shifted-window transformer blocks, without a convolution after the first.

Source: Cao et al., "Swin-Unet: Unet-like pure transformer for medical image segmentation", 2021 (arXiv 2105.05537),
with the encoder of Swin-Tiny (Liu et al., ICCV 2021) at two blocks a stage. Where the paper's text and the authors'
code (github.com/HuCaoFighting/Swin-Unet) differ, the code made the published results and is followed:
- Fig. 1 draws the skips after an encoder stage's blocks, the code takes them before these;
- the code normalises after the last encoder block, after the last decoder block and after each expansion;
- what the code calls truncated normal is in effect not truncated; convolutions start as PyTorch's do.

The paper fixes the image at 224×224. What is chosen here for any other: sides are filled up to multiples of 32, a
stage's map to multiples of the window (see `WindowAttention`). At 256×256 a window of 8 needs no filling. The authors
repeat a grey channel three times; here the first layer has as many channels as the image.

Size: 27,168,900 parameters for 3 channels and 9 classes, as many as the authors' code has; published as 27.17 M, and as
27.15 M by counters that do not see the 22,308 entries of the offset tables. Two dimensions only: so is the paper.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array, UserError
from fetal_jax.layers.conv import Conv
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.patches import Linear, PatchExpanding, PatchMerging, layer_norm, spread
from fetal_jax.layers.window import WindowAttention
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel

PATCH = 4  # pixels along a side of a token
HEADS = (3, 6, 12, 24)  # of attention, by stage
BLOCKS = 2  # in each stage; every second one is shifted
STRIDE = PATCH * 2 ** (len(HEADS) - 1)
torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class SwinBlock(nn.Module):
    """Window attention and a two-layer perceptron of four times the width, each normalised first and added (Eq. 1-4).

    In training either is left out of an image at `drop_rate` ("stochastic depth").
    """

    heads: int
    window: int
    shifted: bool
    drop_rate: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        c = x.shape[-1]
        drop = nn.Dropout(self.drop_rate, broadcast_dims=(1, 2, 3), deterministic=not train)
        attention = WindowAttention(self.heads, self.window, self.shifted, name="attention")
        x = x + drop(attention(layer_norm(x, "norm1")))
        hidden = jax.nn.gelu(Linear(4 * c, name="expand")(layer_norm(x, "norm2")), approximate=False)
        return x + drop(Linear(c, name="contract")(hidden))


class SwinStage(nn.Module):
    """The blocks at one resolution, `level` halvings below the tokens'; plain and shifted windows alternate.

    The drop rate rises linearly from 0 in the encoder's first block to `dropout` in its last; the decoder's blocks have
    the rates of the encoder's at the same level.
    """

    level: int
    window: int
    dropout: float

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"], *, train: bool) -> Float[Array, "b h w c"]:
        last = BLOCKS * len(HEADS) - 1
        for i in range(BLOCKS):
            rate = self.dropout * (self.level * BLOCKS + i) / last
            block = SwinBlock(HEADS[self.level], self.window, i % 2 == 1, rate, name=f"block{i + 1}")
            x = block(x, train=train)
        return x


class SwinEncoder(nn.Module):
    """Swin-Tiny with two blocks a stage: tokens of 4×4 pixels, four stages, half the resolution before all but one."""

    width: int
    window: int
    dropout: float

    @nn.compact
    def __call__(self, image: Float[Array, "b *space c"], *, train: bool) -> list[Float[Array, "b ..."]]:
        """What enters the stages of stride 4, 8 and 16, and what leaves that of 32: width, 2, 4, 8 width channels.

        Raises UserError for volumes.
        """
        x = Conv(self.width, PATCH, PATCH, kernel_init=torch_uniform, name="patches")(image)
        x = layer_norm(x, "norm_patches")
        skips = []
        for level in range(len(HEADS)):
            x = PatchMerging(self.width * 2**level, name=f"merge{level}")(x) if level else x
            skips.append(x)
            x = SwinStage(level, self.window, self.dropout, name=f"stage{level + 1}")(x, train=train)
            x = record_intermediate(self, f"features{level + 1}", x)
        return [*skips[:-1], layer_norm(x, "norm")]


class SwinDecoder(nn.Module):
    """Three times twice the resolution, the skip beside it, and a stage; then four times the resolution, and logits."""

    num_classes: int
    window: int
    dropout: float

    @nn.compact
    def __call__(self, features: list[Float[Array, "b ..."]], *, train: bool) -> Float[Array, "b h w classes"]:
        *skips, x = features
        for level, skip in reversed(list(enumerate(skips))):
            width = skip.shape[-1]
            x = spread(PatchExpanding(2, width, name=f"expand{level + 1}")(x))
            x = Linear(width, name=f"fuse{level + 1}")(jnp.concatenate([x, skip], axis=-1))
            x = SwinStage(level, self.window, self.dropout, name=f"stage{level + 1}")(x, train=train)
            x = record_intermediate(self, f"features{len(skips) - level}", x)
        x = PatchExpanding(PATCH, x.shape[-1], name="expand0")(layer_norm(x, "norm"))
        # Logits need no neighbours, so they alone are laid out and not their many channels.
        head = nn.Dense(self.num_classes, use_bias=False, dtype=x.dtype, kernel_init=torch_uniform, name="logits")
        return spread(head(x))


@register
def swin_unet(
    *, num_classes: int, precision: str = "float32", width: int = 96, window: int = 7, dropout: float = 0.2
) -> SegmentationModel:
    """Swin U-Net for images. `width` is that of a token at stride 4, a multiple of 3; `window` in tokens.

    `dropout` is the largest rate of stochastic depth, 0.2 in the authors' settings, and the only dropout there is.
    There is no batch normalisation, hence no `bn_momentum`. Raises UserError for another width.
    """
    if width % HEADS[0]:
        raise UserError(f"width {width} of model 'swin_unet' must be a multiple of {HEADS[0]}")
    encoder, decoder = SwinEncoder(width, window, dropout), SwinDecoder(num_classes, window, dropout)
    return SegmentationModel(encoder, decoder, STRIDE, precision, dims=(2,))
