"""MC dropout: predictions of a network that drops units at random, as in training.

Source: Gal & Ghahramani, "Dropout as a Bayesian approximation", ICML 2016.
"""

from collections.abc import Callable
from typing import Any

import flax.errors
import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Float

from fetal_jax.core.types import Array, Variables
from fetal_jax.layers.norm import BatchNorm


def apply_with_dropout(
    model: nn.Module, variables: Variables, image: Float[Array, "b *space c"], key: jax.Array
) -> Float[Array, "b *space classes"]:
    """Logits of one forward pass, with the units dropped that `key` draws.

    Normalisation runs on its running averages, as in evaluation: a prediction that depended on the other images of
    its batch would be uncertain about them.
    """
    with nn.intercept_methods(_on_running_averages):
        return jnp.asarray(model.apply(variables.as_dict(), image, train=True, rngs={"dropout": key}))


def has_dropout(model: nn.Module, variables: Variables, image: Float[Array, "b *space c"]) -> bool:
    """Whether the network drops anything when it is trained. Nothing is computed."""

    def train(variables: Variables, image: Array) -> Any:
        return model.apply(variables.as_dict(), image, train=True, mutable=["batch_stats"])

    try:
        jax.eval_shape(train, variables, image)
    except flax.errors.InvalidRngError:
        return True
    return False


def _on_running_averages(call: Callable, args: tuple, kwargs: dict[str, Any], context: Any) -> Any:
    if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
        kwargs = kwargs | {"train": False}
    return call(*args, **kwargs)
