"""The steps. Pure functions of data; whoever calls them decides about compilation, devices and time."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from fetal_jax import classes, rngs
from fetal_jax.losses import compose, consistency
from fetal_jax.mesh import copied_to, split_over
from fetal_jax.training.state import TrainState
from fetal_jax.types import Batch

Metrics = dict[str, jax.Array]


class Rates(flax.struct.PyTreeNode):
    """What the schedules say for one step; traced, so that a schedule never causes a compilation."""

    learning_rate: Any
    consistency: Any


def make_train_step(
    model: nn.Module,
    optimizer: optax.GradientTransformation,
    objective: str,
    frozen: tuple[str, ...],
    class_weights: Sequence[float] | None = None,
) -> Callable[[TrainState, Batch, Rates, jax.Array], tuple[TrainState, Metrics]]:
    """The pure step (state, batch, rates, key) -> (state, metrics) of a stage.

    The loss is L = L_supervised + lambda L_consistency (SS_CASE_UNet, Eq. 13). Both views of the unlabelled images
    go through the network in one pass; dropout and perturbation make them differ. Where the network offers further
    logits beside its answer (deep supervision), L_supervised is the mean over all of them.
    """
    supervised = compose.supervised(objective, class_weights)

    def loss_fn(params, state: TrainState, batch: Batch, rates: Rates, key):
        images = jnp.concatenate([batch.image, batch.strong])
        logits, updates = model.apply(
            {"params": params, "batch_stats": state.batch_stats},
            images,
            train=True,
            frozen=frozen,
            rngs={"dropout": rngs.step_key(key, "dropout", state.step)},
            mutable=["batch_stats", "auxiliary"],
        )
        first, second = logits[: len(batch.image)], logits[len(batch.image) :]
        fits = [
            compose.trusted_mean(supervised(output[: len(batch.image)], batch.labels, batch.weights), batch.weights)
            for output in (logits, *jax.tree.leaves(updates.pop("auxiliary", ())))
        ]
        fit = sum(fits) / len(fits)
        weak = classes.probabilities(first)[batch.strong_of]
        agreement = consistency.mse(weak, classes.probabilities(second))
        loss = fit + rates.consistency * agreement
        return loss, (updates.get("batch_stats", {}), {"loss": loss, "supervised": fit, "consistency": agreement})

    def train_step(state: TrainState, batch: Batch, rates: Rates, key: jax.Array) -> tuple[TrainState, Metrics]:
        grads, (batch_stats, metrics) = jax.grad(loss_fn, has_aux=True)(state.params, state, batch, rates, key)
        directions, opt_state = optimizer.update(grads, state.opt_state, state.params)
        updates = jax.tree.map(lambda d: -rates.learning_rate * d, directions)
        params = optax.apply_updates(state.params, updates)
        state = state.replace(step=state.step + 1, params=params, batch_stats=batch_stats, opt_state=opt_state)
        return state, metrics | {"update_norm": optax.tree.norm(updates)}

    return train_step


def compile_train_step(train_step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """The step compiled for a mesh: state copied to all devices and donated, batch split over them."""
    whole, split = copied_to(mesh), split_over(mesh)
    return jax.jit(
        train_step, in_shardings=(whole, split, whole, whole), out_shardings=(whole, whole), donate_argnums=0
    )
