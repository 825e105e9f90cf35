"""Objectives: supervised losses by name, and the sum that a step minimises."""

import math
from collections.abc import Callable, Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from fetal_jax.core.types import UserError
from fetal_jax.losses.terms import TERMS

Loss = Callable[[Float[Array, "b *space c"], Int[Array, " b *space"], Float[Array, " b *space"]], Float[Array, " b"]]

DICE_SHARE, FOCAL_SHARE = 0.4, 0.2  # alpha and beta of Eq. 3.5; trans-thalamic thesis, section 1.3


# Objectives by name: the terms that are added up, and how much each counts. A term by itself is one, too; its file is
# a line in the list of fetal_jax/losses/__init__.py.
OBJECTIVES: dict[str, dict[str, float]] = {term: {term: 1.0} for term in TERMS} | {
    # The hybrid of the abstract of SS_CASE_UNet.
    "bce_dice": {"cross_entropy": 1.0, "dice": 1.0},
    # The final choice of the trans-thalamic thesis, Eq. 3.5.
    "weighted_hybrid": {"cross_entropy": 1 - DICE_SHARE - FOCAL_SHARE, "focal": FOCAL_SHARE, "dice": DICE_SHARE},
}


def loss_weights(name: str) -> dict[str, float]:
    """The terms of an objective and how much each counts. Raises UserError for an unknown name."""
    if name not in OBJECTIVES:
        raise UserError(f"objective {name!r} is unknown: choose one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[name]


def weight_key(term: str) -> str:
    """The name of a term's weight among the hyper-parameters of a step."""
    return f"{term}_weight"


def traced_weights(name: str, hp: Mapping[str, Array]) -> dict[str, Array]:
    """How much each term of an objective counts in a step with these hyper-parameters."""
    return {term: hp[weight_key(term)] for term in loss_weights(name)}


def supervised(
    name: str,
    class_weights: Sequence[float] | None = None,
    weights_of_terms: Mapping[str, float | Array] | None = None,
) -> Loss:
    """The supervised loss of each image by name.

    Args:
      name: a name of OBJECTIVES.
      class_weights: an entry for each class, background first; None: all alike.
      weights_of_terms: how much each term counts, maybe traced; None: as `loss_weights` says.

    Raises UserError for an unknown name, and for class weights that cannot weigh; the loss itself raises it where
    their number is not that of the classes.
    """
    counts = loss_weights(name) if weights_of_terms is None else weights_of_terms
    if class_weights is not None and (
        not all(0 <= weight < math.inf for weight in class_weights) or not any(class_weights[1:])
    ):
        raise UserError(
            f"class_weights are {list(class_weights)}: each must be finite and at least 0, and one beside that of the "
            "background more than 0"
        )

    def loss(logits, labels, weights):
        classes_count = _checked(class_weights, logits)
        terms = [counts[term] * TERMS[term](logits, labels, weights, classes_count) for term in counts]
        return sum(terms[1:], terms[0])

    return loss


def _checked(class_weights: Sequence[float] | None, logits: Array) -> Array | None:
    if class_weights is None:
        return None
    n_classes = max(logits.shape[-1], 2)
    if len(class_weights) != n_classes:
        raise UserError(f"class_weights has {len(class_weights)} entries: give {n_classes}, one for each class")
    return jnp.asarray(class_weights, logits.dtype)


def masked_mean(losses: Float[Array, " b"], weights: Float[Array, " b *space"]) -> Float[Array, ""]:
    """Mean over the images that have a trusted pixel; 0 where no image has one."""
    trusted = jnp.any(weights > 0, axis=tuple(range(1, weights.ndim)))
    return jnp.sum(jnp.where(trusted, losses, 0)) / jnp.maximum(jnp.sum(trusted), 1)
