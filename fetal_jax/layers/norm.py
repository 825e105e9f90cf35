"""Normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.types import Array

EPSILON = 1e-3


class BatchNorm(nn.Module):
    """Batch normalisation as Keras sets it (momentum 0.99, epsilon 1e-3), over all axes but the last.

    Parameters `scale`, `bias`; running averages `mean`, `var` in `batch_stats`. A momentum of 0.99 forgets the initial
    statistics only after some 500 steps: shorter runs want 0.9. Source: Ioffe & Szegedy, ICML 2015.
    """

    momentum: float = 0.99

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            axes = tuple(range(x.ndim - 1))
            mean = jnp.mean(x, axes)
            var = jnp.maximum(jnp.mean(jnp.square(x), axes) - jnp.square(mean), 0.0)
            if not self.is_initializing():
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * jax.lax.rsqrt(var + EPSILON)
        return x * gain + (bias - mean * gain)
