"""The state of a run: data only. No function, no model and no optimizer lives inside."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
from flax import linen as nn

from fetal_jax import rngs
from fetal_jax.types import Variables


class TrainState(flax.struct.PyTreeNode):
    """What a step takes and gives back. `teacher` is the network that labelled the pool; None before that."""

    step: Any  # int32
    params: Any
    batch_stats: Any
    opt_state: Any
    teacher: Any  # Variables or None

    @property
    def student(self) -> Variables:
        return Variables(self.params, self.batch_stats)


def create_train_state(model: nn.Module, seed: int, image_shape: tuple[int, ...]) -> TrainState:
    """A randomly initialised state without an optimizer: `enter_stage` adds that. `image_shape` is [*space c]."""
    key = rngs.named_key(jax.random.key(seed), "init")
    variables = model.init(key, jnp.zeros((1, *image_shape)), train=False)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables.get("batch_stats", {}),
        opt_state=(),
        teacher=None,
    )
