"""Cross-entropy on logits."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int


def cross_entropy(
    logits: Float[Array, "b h w c"], labels: Int[Array, "b h w"], weights: Float[Array, "b h w"]
) -> Float[Array, " b"]:
    """Weighted mean cross-entropy of each image; binary where there is one logit, softmax where there are several."""
    if logits.shape[-1] == 1:
        losses = optax.sigmoid_binary_cross_entropy(logits[..., 0], labels)
    else:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    return jnp.sum(weights * losses, (1, 2)) / jnp.maximum(jnp.sum(weights, (1, 2)), 1e-6)
