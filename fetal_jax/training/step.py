"""The training step. A pure function of data: compilation and sharding are the caller's."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from flax import linen as nn

from fetal_jax.core.sharding import copied_to, split_over
from fetal_jax.core.types import Batch, TrainState, Variables
from fetal_jax.losses import compose
from fetal_jax.methods import Context, Method
from fetal_jax.methods.base import Hyperparameters

Metrics = dict[str, jax.Array]
TrainStep = Callable[[TrainState, Batch, Hyperparameters, jax.Array], tuple[TrainState, Metrics]]


def make_train_step(
    method: Method,
    models: Mapping[str, nn.Module],
    make_optimizer: Callable[[Hyperparameters], optax.GradientTransformation],
    *,
    objective: str,
    frozen: tuple[str, ...] = (),
    class_weights: tuple[float, ...] | None = None,
) -> TrainStep:
    """The pure step (state, batch, hp, key) -> (state, metrics) of a stage.

    Every number that a study may vary is in `hp` (`Stage.hyperparameters`), and traced: changing one compiles nothing.
    """

    def train_step(state: TrainState, batch: Batch, hp: Hyperparameters, key: jax.Array) -> tuple[TrainState, Metrics]:
        def loss_fn(params: dict[str, Any]) -> tuple[jax.Array, tuple[dict[str, Any], Metrics]]:
            ctx = Context(
                models=models,
                params=params,
                networks=state.networks,
                teachers=state.teachers,
                objective=compose.supervised(objective, class_weights, compose.traced_weights(objective, hp)),
                frozen=frozen,
                hp=hp,
                key=key,
                step=state.step,
            )
            loss, metrics = method.loss(ctx, batch)
            return loss, (ctx.statistics, metrics | {"loss": loss})

        params = {name: network.params for name, network in state.networks.items()}
        grads, (statistics, metrics) = jax.grad(loss_fn, has_aux=True)(params)
        optimizer, networks, opt_state, updates = make_optimizer(hp), {}, {}, {}
        for name, network in state.networks.items():
            directions, opt_state[name] = optimizer.update(grads[name], state.opt_state[name], network.params)
            updates[name] = jax.tree.map(lambda d: -hp["learning_rate"] * d, directions)
            moved = optax.apply_updates(network.params, updates[name])
            networks[name] = Variables(moved, statistics.get(name, network.batch_stats))
        state = state.replace(step=state.step + 1, networks=networks, opt_state=opt_state)
        return method.after_update(state, hp), metrics | {"update_norm": optax.tree.norm(updates)}

    return train_step


def compile_train_step(train_step: TrainStep, mesh: jax.sharding.Mesh) -> TrainStep:
    """The step compiled for a mesh: state copied to all devices and donated, batch split over them."""
    whole, split = copied_to(mesh), split_over(mesh)
    return jax.jit(
        train_step, in_shardings=(whole, split, whole, whole), out_shardings=(whole, whole), donate_argnums=0
    )
