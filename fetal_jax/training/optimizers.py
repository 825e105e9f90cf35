"""Optimizers as pure transformations, without a learning rate: the step multiplies by it, and never recompiles."""

import math
from typing import Any

import jax
import optax

from fetal_jax.types import UserError

OPTIMIZERS = {"adam": optax.scale_by_adam, "sgd": lambda: optax.trace(decay=0.9, nesterov=True)}


def make_optimizer(
    name: str, weight_decay: float, clip: float, frozen: tuple[str, ...]
) -> optax.GradientTransformation:
    """Update directions (to be multiplied by minus the learning rate) for every parameter outside `frozen`.

    Args:
      name: one of OPTIMIZERS.
      weight_decay: decoupled decay of the kernels, per unit of learning rate.
      clip: largest global norm of the gradient.
      frozen: top-level parameter groups whose update is exactly zero (`optax.masked` would let gradients through).

    Raises UserError for an unknown name, and, when used, for a frozen group that the parameters do not have.
    """
    if name not in OPTIMIZERS:
        raise UserError(f"optimizer.name {name!r} is unknown: choose one of {', '.join(OPTIMIZERS)}")
    if not (clip > 0 and 0 <= weight_decay < math.inf):
        raise UserError(
            f"optimizer.clip is {clip} and weight_decay {weight_decay}: the first must be above 0, the other 0 or more"
        )
    moving = optax.chain(
        optax.clip_by_global_norm(clip),
        OPTIMIZERS[name](),
        optax.add_decayed_weights(weight_decay, mask=_kernels),
    )
    return optax.partition({"moving": moving, "frozen": optax.set_to_zero()}, lambda params: _labels(params, frozen))


def _labels(params: Any, frozen: tuple[str, ...]) -> Any:
    unknown = [group for group in frozen if group not in params]
    if unknown:
        raise UserError(f"frozen names {unknown[0]!r}: the parameter groups of this model are {', '.join(params)}")
    return {
        group: jax.tree.map(lambda _, group=group: "frozen" if group in frozen else "moving", tree)
        for group, tree in params.items()
    }


def _kernels(params: Any) -> Any:
    return jax.tree.map(lambda p: p.ndim > 1, params)


def cosine(peak: float, progress: float, warmup: float = 0.05, final: float = 0.01) -> float:
    """The learning rate at `progress` in [0, 1] of a stage: linear warm-up, then half a cosine to `final` of `peak`."""
    if progress < warmup:
        return peak * (0.1 + 0.9 * progress / warmup)
    t = (progress - warmup) / (1 - warmup)
    return peak * (final + (1 - final) * 0.5 * (1 + math.cos(math.pi * t)))
