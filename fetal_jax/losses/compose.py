"""Objectives: supervised losses by name, and the sum that a step minimises."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fetal_jax import classes
from fetal_jax.losses.cross_entropy import cross_entropy
from fetal_jax.losses.overlap import dice_loss
from fetal_jax.types import UserError

Loss = Callable[[Float[Array, "b h w c"], Int[Array, "b h w"], Float[Array, "b h w"]], Float[Array, " b"]]


def foreground_dice(logits, labels, weights):
    """Dice loss over the foreground classes."""
    probs = classes.foreground(classes.probabilities(logits))
    return dice_loss(probs, classes.foreground_one_hot(labels, logits.shape[-1]), weights)


def bce_dice(logits, labels, weights):
    """Cross-entropy plus Dice, the hybrid of the abstract of SS_CASE_UNet."""
    return cross_entropy(logits, labels, weights) + foreground_dice(logits, labels, weights)


OBJECTIVES: dict[str, Loss] = {"dice": foreground_dice, "bce_dice": bce_dice}


def supervised(name: str) -> Loss:
    """The supervised loss of each image by name. Raises UserError for an unknown name."""
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r} is unknown: choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def trusted_mean(losses: Float[Array, " b"], weights: Float[Array, "b h w"]) -> Float[Array, ""]:
    """Mean over the images that have a trusted pixel; 0 where no image has one."""
    trusted = jnp.any(weights > 0, axis=(1, 2))
    return jnp.sum(jnp.where(trusted, losses, 0)) / jnp.maximum(jnp.sum(trusted), 1)
