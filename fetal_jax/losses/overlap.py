"""Overlap losses."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from fetal_jax.core import logits as classes
from fetal_jax.losses.terms import term

SMOOTH = 1e-5  # keeps value and gradient finite where a class is absent from label and prediction


def dice_loss(
    probs: Float[Array, "b *space c"],
    target: Float[Array, "b *space c"],
    weights: Float[Array, " b *space"],
    class_weights: Float[Array, " c"] | None = None,
) -> Float[Array, " b"]:
    """One minus the Dice coefficient with squared denominator, mean over classes, for each image.

    L = 1 - 2 sum(p g) / (sum(p^2) + sum(g^2)); SS_CASE_UNet, Eq. 11, whose printed form is the coefficient itself.
    A pixel of weight 0 is left out of all three sums. With class weights, which must not all be 0, the mean over
    classes is weighted by them (trans-thalamic thesis, Eq. 3.4).
    """
    w = weights[..., None]
    over = tuple(range(1, weights.ndim))
    intersection = jnp.sum(w * probs * target, over)
    total = jnp.sum(w * probs**2, over) + jnp.sum(w * target**2, over)
    losses = 1 - (2 * intersection + SMOOTH) / (total + SMOOTH)
    if class_weights is None:
        return jnp.mean(losses, axis=-1)
    return losses @ class_weights / jnp.sum(class_weights)


@term("dice")
def foreground_dice(logits, labels, weights, class_weights=None):
    """Dice loss over the foreground classes."""
    probs = classes.foreground(classes.probabilities(logits))
    target = classes.foreground_one_hot(labels, logits.shape[-1])
    return dice_loss(probs, target, weights, None if class_weights is None else class_weights[1:])
