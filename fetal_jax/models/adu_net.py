"""ADU-Net, the anatomy-guided densely connected U-Net of Wang et al., MICCAI 2018, as Sun et al., MLMI 2020, use it.

From the papers: a down-sampling and an up-sampling path through seven dense blocks, so three resolutions down, a
bottleneck, three up; each block has three layers of BN-ReLU-Conv-Dropout with 16 kernels and dropout 0.1; on the way
down convolution, BN, ReLU and max pooling lie between two blocks, on the way up a transposed convolution, whose output
is concatenated with the features of the same level; convolutions of 3³, Xavier initialisation; T1w and T2w as two
channels of patches of 32³; a softmax over background, CSF, GM and WM.

Left open, and chosen here: one convolution to 32 channels before the first block; twice as many channels enter a block
one level deeper (a transition changes them); transposed convolutions of 2³; a block ends with BN-ReLU, as the authors'
later public code has it (DBC-Lab/Brain_MRI_Enhancement, DUNet3D_seg_recon.py: two convolutions to 64 channels first, 32
kernels in the deeper blocks, transposed convolutions of 4³). The anatomical guidance, signed distances to the brain's
outer surface, is an input: further channels of the image. No parameter count is published.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import Conv, ConvTranspose
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.norm import TORCH_EPSILON, BatchNorm
from fetal_jax.layers.resample import max_pool_2x
from fetal_jax.models.registry import register
from fetal_jax.models.segmentation_model import SegmentationModel

xavier = nn.initializers.glorot_uniform()


class Activate(nn.Module):
    """Batch normalisation and ReLU, before a convolution; sub-module `bn`."""

    bn_momentum: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space c"]:
        return jax.nn.relu(BatchNorm(self.bn_momentum, TORCH_EPSILON, name="bn")(x, train=train))


class DenseBlock(nn.Module):
    """Layers that see the outputs of all before them (Huang et al., CVPR 2017, without 1×1 bottlenecks), then BN-ReLU.

    Each adds `growth` channels to those that come in.
    """

    layers: int
    growth: int
    dropout: float
    bn_momentum: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space c2"]:
        for i in range(1, self.layers + 1):
            y = Activate(self.bn_momentum, name=f"activate{i}")(x, train=train)
            y = Conv(self.growth, name=f"conv{i}")(y)
            y = nn.Dropout(self.dropout)(y, deterministic=not train)
            x = jnp.concatenate([x, y], axis=-1)
        return Activate(self.bn_momentum, name="activate")(x, train=train)


class DownPath(nn.Module):
    """The stem, and dense blocks with a transition between two; the output of each block, shallow to deep."""

    width: int
    depth: int
    block: DenseBlock

    @nn.compact
    def __call__(self, image: Float[Array, "b *space c"], *, train: bool):
        x = Conv(self.width, name="stem")(image)
        features = []
        for level in range(self.depth + 1):
            if level:
                x = Conv(self.width * 2**level, name=f"down{level}")(x)
                x = Activate(self.block.bn_momentum, name=f"down{level}_activate")(x, train=train)
                x = max_pool_2x(x)
            x = self.block.copy(name=f"block{level + 1}")(x, train=train)
            features.append(record_intermediate(self, f"features{level + 1}", x))
        return tuple(features)


class UpPath(nn.Module):
    """Transposed convolution, the features of that level beside it, a dense block; at last logits."""

    width: int
    num_classes: int
    block: DenseBlock

    @nn.compact
    def __call__(self, features, *, train: bool) -> Float[Array, "b *space classes"]:
        *skips, x = features
        for step, skip in enumerate(skips[::-1], start=1):
            width = self.width * 2 ** (len(skips) - step)
            x = ConvTranspose(width, kernel_init=xavier, name=f"up{step}")(x)
            x = self.block.copy(name=f"block{step}")(jnp.concatenate([x, skip], axis=-1), train=train)
            x = record_intermediate(self, f"features{step}", x)
        return Conv(self.num_classes, name="logits")(x)


@register
def adu_net(
    *,
    num_classes: int,
    precision: str = "float32",
    width: int = 32,
    depth: int = 3,
    layers: int = 3,
    growth: int = 16,
    dropout: float = 0.1,
    bn_momentum: float = 0.9,
) -> SegmentationModel:
    """ADU-Net for images or volumes. `layers` of a dense block add `growth` channels each; 2 · `depth` + 1 blocks."""
    block = DenseBlock(layers, growth, dropout, bn_momentum, parent=None)
    return SegmentationModel(DownPath(width, depth, block), UpPath(width, num_classes, block), 2**depth, precision)
