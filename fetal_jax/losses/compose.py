"""Objectives: supervised losses by name, and the sum that a step minimises."""

import functools
import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fetal_jax import classes
from fetal_jax.losses.cross_entropy import cross_entropy, focal
from fetal_jax.losses.overlap import dice_loss
from fetal_jax.types import UserError

Loss = Callable[[Float[Array, "b *space c"], Int[Array, " b *space"], Float[Array, " b *space"]], Float[Array, " b"]]

DICE_SHARE, FOCAL_SHARE = 0.4, 0.2  # alpha and beta of Eq. 3.5; trans-thalamic thesis, section 1.3


def foreground_dice(logits, labels, weights, class_weights=None):
    """Dice loss over the foreground classes."""
    probs = classes.foreground(classes.probabilities(logits))
    target = classes.foreground_one_hot(labels, logits.shape[-1])
    return dice_loss(probs, target, weights, None if class_weights is None else class_weights[1:])


def bce_dice(logits, labels, weights, class_weights=None):
    """Cross-entropy plus Dice, the hybrid of the abstract of SS_CASE_UNet."""
    entropy = cross_entropy(logits, labels, weights, class_weights)
    return entropy + foreground_dice(logits, labels, weights, class_weights)


def weighted_hybrid(logits, labels, weights, class_weights=None):
    """0.4 cross-entropy + 0.2 focal + 0.4 Dice, the final choice of the trans-thalamic thesis (Eq. 3.5)."""
    case = (logits, labels, weights, class_weights)
    entropy, focused, dice = cross_entropy(*case), focal(*case), foreground_dice(*case)
    return (1 - DICE_SHARE - FOCAL_SHARE) * entropy + FOCAL_SHARE * focused + DICE_SHARE * dice


OBJECTIVES: dict[str, Callable] = {
    "dice": foreground_dice,
    "cross_entropy": cross_entropy,
    "focal": focal,
    "bce_dice": bce_dice,
    "weighted_hybrid": weighted_hybrid,
}


def supervised(name: str, class_weights: Sequence[float] | None = None) -> Loss:
    """The supervised loss of each image by name; `class_weights` has an entry a class, background first.

    Raises UserError for an unknown name, and for class weights that cannot weigh; the loss itself raises it where
    their number is not that of the classes.
    """
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r} is unknown: choose one of {', '.join(OBJECTIVES)}")
    if class_weights is None:
        return OBJECTIVES[name]
    if not all(0 <= weight < math.inf for weight in class_weights) or not any(class_weights[1:]):
        raise UserError(
            f"class_weights are {list(class_weights)}: each must be finite and at least 0, and one beside that of the "
            "background more than 0"
        )
    return functools.partial(_class_weighted, OBJECTIVES[name], tuple(class_weights))


def _class_weighted(objective, class_weights, logits, labels, weights):
    n_classes = max(logits.shape[-1], 2)
    if len(class_weights) != n_classes:
        raise UserError(f"class_weights has {len(class_weights)} entries: give {n_classes}, one a class")
    return objective(logits, labels, weights, jnp.asarray(class_weights, logits.dtype))


def trusted_mean(losses: Float[Array, " b"], weights: Float[Array, " b *space"]) -> Float[Array, ""]:
    """Mean over the images that have a trusted pixel; 0 where no image has one."""
    trusted = jnp.any(weights > 0, axis=tuple(range(1, weights.ndim)))
    return jnp.sum(jnp.where(trusted, losses, 0)) / jnp.maximum(jnp.sum(trusted), 1)
