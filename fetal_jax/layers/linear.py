"""Linear layers as transformers have them."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array
from fetal_jax.layers.conv import plus_bias

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
