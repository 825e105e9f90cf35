"""Overlap losses."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fetal_jax.core import logits as classes
from fetal_jax.losses.terms import term

TVERSKY_ALPHA, TVERSKY_BETA = 0.3, 0.7  # the best of the paper's table 1
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
    return _mean_over_classes(1 - (2 * intersection + SMOOTH) / (total + SMOOTH), class_weights)


@term("dice")
def foreground_dice(logits, labels, weights, class_weights=None):
    """Dice loss over the foreground classes."""
    probs, target, class_weights = _foreground(logits, labels, class_weights)
    return dice_loss(probs, target, weights, class_weights)


@term("tversky")
def tversky(
    logits: Float[Array, "b *space c"],
    labels: Int[Array, " b *space"],
    weights: Float[Array, " b *space"],
    class_weights: Float[Array, " classes"] | None = None,
) -> Float[Array, " b"]:
    """One minus the Tversky index, mean over the foreground classes (Salehi et al., MLMI 2017, Eq. 3).

    L = 1 - sum(p g) / (sum(p g) + alpha sum(p (1 - g)) + beta sum((1 - p) g)), alpha 0.3 and beta 0.7: a pixel that is
    missed costs more than one that is too many.
    """
    probs, target, class_weights = _foreground(logits, labels, class_weights)
    w, over = weights[..., None], tuple(range(1, weights.ndim))
    found = jnp.sum(w * probs * target, over)
    wrong = TVERSKY_ALPHA * jnp.sum(w * probs * (1 - target), over)
    missed = TVERSKY_BETA * jnp.sum(w * (1 - probs) * target, over)
    losses = 1 - (found + SMOOTH) / (found + wrong + missed + SMOOTH)
    return _mean_over_classes(losses, class_weights)


@term("generalised_dice")
def generalised_dice(
    logits: Float[Array, "b *space c"],
    labels: Int[Array, " b *space"],
    weights: Float[Array, " b *space"],
    class_weights: Float[Array, " classes"] | None = None,
) -> Float[Array, " b"]:
    """One minus the generalised Dice of all classes with the background (Sudre et al., DLMIA 2017, section 2.2).

    L = 1 - 2 sum_c v_c sum(p g) / sum_c v_c sum(p + g), v_c = 1 / (pixels of c in the label)^2. A class that is absent
    counts as if it had one pixel: any probability of it costs much. Class weights multiply v.
    """
    probs = classes.with_background(classes.probabilities(logits))
    target = jax.nn.one_hot(labels, probs.shape[-1], dtype=probs.dtype)
    w, over = weights[..., None], tuple(range(1, weights.ndim))
    pixels = jnp.sum(w * target, over)  # [b classes]
    volume_weights = 1 / jnp.maximum(pixels, 1) ** 2
    if class_weights is not None:
        volume_weights = volume_weights * class_weights[None]
    found = jnp.sum(volume_weights * jnp.sum(w * probs * target, over), -1)
    total = jnp.sum(volume_weights * (jnp.sum(w * probs, over) + pixels), -1)
    return 1 - (2 * found + SMOOTH**2) / (total + SMOOTH**2)


def _foreground(logits, labels, class_weights):
    """Probabilities, one-hot labels and weights of the foreground classes."""
    probs = classes.foreground(classes.probabilities(logits))
    target = classes.foreground_one_hot(labels, logits.shape[-1])
    return probs, target, None if class_weights is None else class_weights[1:]


def _mean_over_classes(losses, class_weights):
    if class_weights is None:
        return jnp.mean(losses, axis=-1)
    return losses @ class_weights / jnp.sum(class_weights)
