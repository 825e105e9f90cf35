"""Normalisation."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array

KERAS_EPSILON, TORCH_EPSILON = 1e-3, 1e-5


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; momentum 0.99 and epsilon 1e-3 are Keras'.

    Parameters `scale`, `bias`; running averages `mean`, `var` in `batch_stats`. A momentum of 0.99 forgets the initial
    statistics only after some 500 steps: shorter runs want 0.9. Statistics are float32, whatever the input's precision,
    and biased, the running ones too (PyTorch keeps n/(n−1) times the variance). Source: Ioffe & Szegedy, ICML 2015.
    """

    momentum: float = 0.99
    epsilon: float = KERAS_EPSILON

    @nn.compact
    def __call__(self, x: Float[Array, "*b c"], *, train: bool) -> Float[Array, "*b c"]:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        if train:
            axes, exact = tuple(range(x.ndim - 1)), x.astype(jnp.float32)
            mean = jnp.mean(exact, axes)
            var = jnp.maximum(jnp.mean(jnp.square(exact), axes) - jnp.square(mean), 0.0)
            if not self.is_initializing():
                running_mean.value = self.momentum * running_mean.value + (1 - self.momentum) * mean
                running_var.value = self.momentum * running_var.value + (1 - self.momentum) * var
        else:
            mean, var = running_mean.value, running_var.value
        gain = scale * jax.lax.rsqrt(var + self.epsilon)
        return (x.astype(jnp.float32) * gain + (bias - mean * gain)).astype(x.dtype)
