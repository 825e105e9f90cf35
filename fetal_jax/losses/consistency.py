"""Consistency terms: how far two predictions of the same image are apart."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Float


def mse(first: Float[Array, "u *space c"], second: Float[Array, "u *space c"]) -> Float[Array, ""]:
    """Mean squared difference of the class probabilities of two passes (SS_CASE_UNet, Eq. 12); 0 for no image."""
    if first.shape[0] == 0:
        return jnp.zeros(())
    return jnp.mean((first - second) ** 2)


def masked_mse(
    first: Float[Array, "u *space c"], second: Float[Array, "u *space c"], weights: Float[Array, " u *space"]
) -> Float[Array, ""]:
    """Squared difference summed over the classes, averaged over the pixels by their weights; 0 where none counts."""
    squared = jnp.sum((first - second) ** 2, axis=-1)
    return jnp.sum(weights * squared) / jnp.maximum(jnp.sum(weights), 1e-6)


def ramp_up(progress: float) -> float:
    """The share of the final weight at `progress` in [0, 1] of a stage: exp(-5 (1 - t)^2) (Laine & Aila, 2017)."""
    t = min(max(progress, 0.0), 1.0)
    return math.exp(-5 * (1 - t) ** 2)
