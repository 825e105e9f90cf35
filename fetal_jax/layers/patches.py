"""Layers of vision transformers: linear, layer normalisation, patch merging and patch expanding.

Sources: Liu et al., "Swin Transformer", ICCV 2021, §3.1 (merging); Cao et al., "Swin-Unet", 2021, §3.5 (expanding).
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import plus_bias
from fetal_jax.layers.norm import TORCH_EPSILON

# Swin's code truncates this normal at ±2, which is a hundred standard deviations out.
small_normal = nn.initializers.normal(0.02)


class Linear(nn.Module):
    """A linear layer in the precision of its input; parameters `kernel` [c features] and `bias` [features]."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*any c"]) -> Float[Array, "*any c2"]:
        y = jnp.dot(x, self.param("kernel", small_normal, (x.shape[-1], self.features)).astype(x.dtype))
        return plus_bias(y, self.param("bias", nn.initializers.zeros, (self.features,))) if self.use_bias else y


def layer_norm(x: Float[Array, "*any c"], name: str) -> Float[Array, "*any c"]:
    """Layer normalisation of the module that calls it; statistics are float32."""
    return nn.LayerNorm(TORCH_EPSILON, dtype=x.dtype, name=name)(x)


def spread(x: Float[Array, "b h w p c"]) -> Float[Array, "b h2 w2 c"]:
    """Lays the p = size² pixels of each token, row by row, into a map of `size` times the resolution."""
    b, h, w, p, c = x.shape
    size = round(p**0.5)
    return x.reshape(b, h, w, size, size, c).swapaxes(2, 3).reshape(b, h * size, w * size, c)


class PatchMerging(nn.Module):
    """Half the resolution: 2×2 neighbours side by side, normalised, projected to `features` channels without bias.

    h and w are even. The neighbours stand column by column, as in the authors' code, so that its weights fit.
    """

    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h2 w2 c2"]:
        b, h, w, c = x.shape
        x = x.reshape(b, h // 2, 2, w // 2, 2, c).transpose(0, 1, 3, 4, 2, 5).reshape(b, h // 2, w // 2, 4 * c)
        return Linear(self.features, use_bias=False, name="reduce")(layer_norm(x, "norm"))


class PatchExpanding(nn.Module):
    """`size` times the resolution: a token's size² pixels of `features` channels by one projection without bias.

    They are normalised each, and still have to be laid out by `spread`.
    """

    size: int
    features: int

    @nn.compact
    def __call__(self, x: Float[Array, "b h w c"]) -> Float[Array, "b h w p c2"]:
        pixels = self.size**2
        x = Linear(pixels * self.features, use_bias=False, name="expand")(x)
        return layer_norm(x.reshape(*x.shape[:-1], pixels, self.features), "norm")
