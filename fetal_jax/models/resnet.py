"""ResNet-18, 34 and 50 without their classifier, equal to torchvision's and timm's.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016, Table 1. As in both libraries, a
bottleneck has its stride in the 3×3 convolution ("v1.5"; in the paper it is in the first 1×1). Names follow them:
`layer2.0.downsample.0` is `params["encoder"]["layer2_0"]["downsample_conv"]` here.
"""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import Conv, fan_out_normal
from fetal_jax.layers.intermediates import record_intermediate
from fetal_jax.layers.norm import TORCH_EPSILON, BatchNorm
from fetal_jax.models.efficientnet import Normalization

EXPANSION = 4  # of a bottleneck's output


@dataclasses.dataclass(frozen=True)
class Depth:
    """Blocks of each stage, and whether they are bottlenecks of three convolutions, not pairs."""

    blocks: tuple[int, int, int, int]
    bottleneck: bool = False


DEPTHS = {"18": Depth((2, 2, 2, 2)), "34": Depth((3, 4, 6, 3)), "50": Depth((3, 4, 6, 3), bottleneck=True)}


def max_pool_3x3(x: Float[Array, "b *space c"]) -> Float[Array, "b *space2 c"]:
    """The largest of 3×3 (×3) pixels around every second one, axis by axis.

    Written as pairs of neighbours, as the gradient of a windowed maximum is slow on CPUs. Equal pixels share theirs.
    """
    for axis in range(1, x.ndim - 1):
        even = _padded(x, axis, 0, x.shape[axis] % 2)
        pairs = even.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
        centre, right = (jax.lax.index_in_dim(pairs, index, axis + 1, keepdims=False) for index in range(2))
        left = _padded(right, axis, 1, -1)
        x = jnp.maximum(jnp.maximum(left, centre), right)
    return x


def _padded(x, axis: int, before: int, after: int):
    edges = [(before, after, 0) if a == axis else (0, 0, 0) for a in range(x.ndim)]
    return jax.lax.pad(x, jnp.array(-jnp.inf, x.dtype), edges)


class ResidualBlock(nn.Module):
    """Two 3×3 convolutions, or 1×1, 3×3, 1×1, each with BatchNorm and all but the last with ReLU; add, ReLU."""

    features: int
    stride: int
    bottleneck: bool
    bn_momentum: float

    @nn.compact
    def __call__(self, x: Float[Array, "b *space c"], *, train: bool) -> Float[Array, "b *space2 c2"]:
        f, stride = self.features, self.stride
        if self.bottleneck:
            y = jax.nn.relu(self._unit("1", x, f, 1, 1, train))
            y = jax.nn.relu(self._unit("2", y, f, 3, stride, train))
            y = self._unit("3", y, EXPANSION * f, 1, 1, train)
        else:
            y = jax.nn.relu(self._unit("1", x, f, 3, stride, train))
            y = self._unit("2", y, f, 3, 1, train)
        if stride != 1 or x.shape[-1] != y.shape[-1]:
            x = Conv(y.shape[-1], 1, stride, False, fan_out_normal, padding="symmetric", name="downsample_conv")(x)
            x = BatchNorm(self.bn_momentum, TORCH_EPSILON, name="downsample_bn")(x, train=train)
        return jax.nn.relu(x + y)

    def _unit(self, number: str, x, features: int, size: int, stride: int, train: bool):
        conv = Conv(features, size, stride, False, fan_out_normal, padding="symmetric", name=f"conv{number}")
        return BatchNorm(self.bn_momentum, TORCH_EPSILON, name=f"bn{number}")(conv(x), train=train)


class ResNet(nn.Module):
    """The encoder: the stem's activation and the outputs of the four stages, `width` to 8 times `width` wide."""

    depth: Depth
    bn_momentum: float = 0.9
    width: int = 64

    @nn.compact
    def __call__(self, image: Float[Array, "b *space c"], *, train: bool) -> list[Float[Array, "b *space2 c2"]]:
        """Features of an image in [0, 1] at strides 2, 4, 8, 16, 32: 64 and 64 to 512 channels (50: 256 to 2048)."""
        x = Normalization(name="normalization")(image)
        x = Conv(self.width, 7, 2, False, fan_out_normal, padding="symmetric", name="conv1")(x)
        x = jax.nn.relu(BatchNorm(self.bn_momentum, TORCH_EPSILON, name="bn1")(x, train=train))
        features = [record_intermediate(self, "features1", x)]
        x = max_pool_3x3(x)
        for stage, blocks in enumerate(self.depth.blocks, start=1):
            for index in range(blocks):
                stride = 2 if stage > 1 and index == 0 else 1
                name = f"layer{stage}_{index}"
                width = self.width << (stage - 1)
                x = ResidualBlock(width, stride, self.depth.bottleneck, self.bn_momentum, name=name)(x, train=train)
            features.append(record_intermediate(self, f"features{stage + 1}", x))
        return features
