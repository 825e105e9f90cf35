"""Self-training of SS_CASE_UNet, stage 3: labelled and pseudo-labelled images alike, and a consistency term."""

import dataclasses

import jax
import jax.numpy as jnp

from fetal_jax.core import logits as classes
from fetal_jax.core.types import Batch
from fetal_jax.losses import consistency
from fetal_jax.methods.base import Method, Metrics, Schedule, option
from fetal_jax.methods.context import Context
from fetal_jax.methods.registry import register


@register("self_training")
@dataclasses.dataclass(frozen=True)
class SelfTraining(Method):
    """L = L_supervised + lambda L_consistency (Eq. 13); lambda is ramped up to `consistency` over the stage.

    All images go through the network in one pass, the perturbed views too, as published: dropout and perturbation
    make the two views of an unlabelled image differ, and the gradient enters both.
    """

    consistency: float = option(1.0)

    pseudo_labels = True

    @property
    def views(self) -> int:  # type: ignore[override]  # a number here, a constant elsewhere
        return int(self.consistency > 0)

    def schedules(self) -> dict[str, Schedule]:
        return {"consistency_weight": lambda progress: self.consistency * consistency.ramp_up(progress)}

    def loss(self, ctx: Context, batch: Batch) -> tuple[jax.Array, Metrics]:
        views = batch.views
        both = jax.tree.map(lambda *parts: jnp.concatenate(parts), batch.labelled, views.pseudo)
        outputs = ctx.forward("student", jnp.concatenate([both.image, *views.strong]))
        n, u = len(both.image), len(views.weak)
        fit = ctx.supervised_loss([output[:n] for output in outputs], both)
        weak, strong = outputs[0][n - u : n], outputs[0][n:]
        agreement = consistency.mse(classes.probabilities(weak)[: len(strong)], classes.probabilities(strong))
        loss = fit + ctx.hp["consistency_weight"] * agreement
        return loss, {"supervised": fit, "consistency": agreement}
