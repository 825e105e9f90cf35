"""Supervised training: the objective on the labelled images, and nothing else."""

import dataclasses

import jax

from fetal_jax.core.types import Batch
from fetal_jax.methods.base import Method, Metrics
from fetal_jax.methods.context import Context
from fetal_jax.methods.registry import register


@register("supervised")
@dataclasses.dataclass(frozen=True)
class Supervised(Method):
    """L = L_supervised."""

    unlabelled = False

    def loss(self, ctx: Context, batch: Batch) -> tuple[jax.Array, Metrics]:
        fit = ctx.supervised_loss(ctx.forward("student", batch.labelled.image), batch.labelled)
        return fit, {"supervised": fit}
