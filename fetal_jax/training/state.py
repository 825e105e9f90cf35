"""The state of a run: how it begins, and how a stage is entered."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn

from fetal_jax.core import rng as rngs
from fetal_jax.core.types import TrainState, Variables
from fetal_jax.methods import Method

FIRST = "student"  # the network with which a run begins


def create_variables(model: nn.Module, seed: int, image_shape: tuple[int, ...], name: str = FIRST) -> Variables:
    """Random variables of a network, others for each name. `image_shape` is [*space c]."""
    key = rngs.named_key(jax.random.key(seed), "init")
    key = key if name == FIRST else rngs.named_key(key, name)
    variables = model.init(key, jnp.zeros((1, *image_shape)), train=False)
    return Variables(variables["params"], variables.get("batch_stats", {}))


def create_state(variables: Variables) -> TrainState:
    """The state with which a run begins, without an optimizer: `enter_stage` adds that."""
    return TrainState(step=jnp.zeros((), jnp.int32), networks={FIRST: variables}, teachers={}, opt_state={})


def enter_stage(
    state: TrainState,
    before: Method | None,
    method: Method,
    make_optimizer: Callable[[Mapping[str, float]], optax.GradientTransformation],
    create: Callable[[str], Variables],
    key: jax.Array,
    start: Variables | None = None,
) -> TrainState:
    """The state with which a stage begins: its networks, a fresh optimizer each, and what its method remembers.

    The first network goes on from what the stage before published, the others from where they are; those that are not
    there yet are new.

    Args:
      before: the method of the stage before; None for the first.
      make_optimizer: see `optimizers`; only the structure of its state is asked for.
      create: new variables for the network of a name.
      key: of the stage.
      start: what the first network starts from; None: from where it is.
    """
    first = start if start is not None else before.published(state) if before else state.networks[FIRST]
    name, *others = method.networks
    networks = {name: first} | {n: state.networks[n] if n in state.networks else create(n) for n in others}
    init = jax.jit(make_optimizer({}).init)  # one program, not one for the zeros of every shape
    opt_state: dict[str, Any] = {name: init(network.params) for name, network in networks.items()}
    return method.enter(state.replace(networks=networks, opt_state=opt_state, teachers={}, aux=()), key)
