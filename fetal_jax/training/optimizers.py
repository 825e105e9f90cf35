"""Optimizers as pure transformations without a learning rate: the step multiplies by it, and never recompiles."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax

from fetal_jax.core.types import Array, UserError

OPTIMIZERS = {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(decay=0.9, nesterov=True)}
Hyperparameters = Mapping[str, float | Array]


def make_optimizer(name: str, frozen: tuple[str, ...]) -> Callable[[Hyperparameters], optax.GradientTransformation]:
    """A function of the hyper-parameters, maybe traced, that gives the update directions of a step.

    The directions are to be multiplied by minus the learning rate. Hyper-parameters: `clip`, the largest global norm of
    the gradient; `weight_decay`, decoupled decay of the kernels for each unit of learning rate. The structure of the
    optimizer's state does not depend on them, so that `init` needs none.

    Args:
      name: one of OPTIMIZERS.
      frozen: top-level parameter groups whose update is exactly zero (`optax.masked` would let gradients through).

    Raises UserError for an unknown name, and, when used, for a frozen group that the parameters do not have.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"optimizer.name {name!r} is unknown: choose one of {', '.join(OPTIMIZERS)}")

    def with_hyperparameters(hp: Hyperparameters) -> optax.GradientTransformation:
        trainable = optax.chain(
            clip_by_global_norm(hp.get("clip", 1.0)),
            OPTIMIZERS[name](),
            optax.add_decayed_weights(hp.get("weight_decay", 0.0), mask=_kernels),
        )
        transforms = {"trainable": trainable, "frozen": optax.set_to_zero()}
        return optax.partition(transforms, lambda params: _labels(params, frozen))

    return with_hyperparameters


def clip_by_global_norm(limit: float | Array) -> optax.GradientTransformation:
    """Gradients whose global norm is at most `limit`.

    As `optax.clip_by_global_norm`, but with one division by a number that is the norm itself where the limit is 1: so
    a traced limit of 1 gives the bits of a constant one.
    """

    def clip(updates: Any, params: Any) -> Any:
        del params
        norm = optax.tree.norm(updates)
        divisor = norm / limit
        return jax.tree.map(lambda t: jax.lax.select(norm < limit, t, t / divisor.astype(t.dtype)), updates)

    return optax.stateless(clip)


def _labels(params: Any, frozen: tuple[str, ...]) -> Any:
    unknown = [group for group in frozen if group not in params]
    if unknown:
        raise UserError(f"frozen names {unknown[0]!r}: the parameter groups of this model are {', '.join(params)}")
    return {
        group: jax.tree.map(lambda _, group=group: "frozen" if group in frozen else "trainable", tree)
        for group, tree in params.items()
    }


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)
