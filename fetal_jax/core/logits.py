"""What logits mean: one logit is a foreground probability, several are a softmax with the background first."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def probabilities(logits: Float[Array, "... c"]) -> Float[Array, "... c"]:
    """Channel probabilities: softmax, or the sigmoid of a single logit."""
    return jax.nn.sigmoid(logits) if logits.shape[-1] == 1 else jax.nn.softmax(logits)


def with_background(probs: Float[Array, "... c"]) -> Float[Array, "... classes"]:
    """Class probabilities, background first, also where one channel holds the foreground alone."""
    return jnp.concatenate([1 - probs, probs], -1) if probs.shape[-1] == 1 else probs


def foreground(probs: Float[Array, "... c"]) -> Float[Array, "... f"]:
    """The channels of the foreground classes."""
    return probs if probs.shape[-1] == 1 else probs[..., 1:]


def foreground_one_hot(labels: Int[Array, "..."], channels: int) -> Float[Array, "... f"]:
    """The labels as indicators of the foreground classes of a network with that many output channels."""
    return jax.nn.one_hot(labels, max(channels, 2))[..., 1:]
