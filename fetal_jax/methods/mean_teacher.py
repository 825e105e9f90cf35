"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): agree with the moving average of one's own weights."""

import dataclasses

import jax.numpy as jnp

from fetal_jax.losses.consistency import masked_mse
from fetal_jax.methods.base import Method, constant, copied, linear_ramp, moving_average, option
from fetal_jax.methods.context import probabilities
from fetal_jax.methods.registry import register


@register("mean_teacher")
@dataclasses.dataclass(frozen=True)
class MeanTeacher(Method):
    """L = L_supervised + lambda MSE(student of the strong view, teacher of the weak view).

    The average has parameters and running statistics and is used in evaluation mode; at update t its decay is
    min(1 - 1 / (t + 1), `decay`). lambda is 0 until the share `burn_in` of the stage, `consistency` from twice that on.
    """

    consistency: float = option(1.0)
    burn_in: float = option(0.2, below=0.5)
    decay: float = option(0.99, below=1)
    views = 1

    def schedules(self):
        ramp = linear_ramp(self.consistency, self.burn_in, 2 * self.burn_in)
        return {"consistency_weight": ramp, "ema_decay": constant(self.decay)}

    def enter(self, state, key):
        return state.replace(teachers={"teacher": copied(state.networks["student"])}, aux=jnp.zeros(()))

    def loss(self, ctx, batch):
        views, fit = batch.views, ctx.supervised_loss(ctx.forward("student", batch.labelled.image), batch.labelled)
        target = probabilities(ctx.target("teacher", views.weak))
        agreement = masked_mse(probabilities(ctx.perturbed("student", views.strong[0])), target, views.weights)
        return fit + ctx.hp["consistency_weight"] * agreement, {"supervised": fit, "consistency": agreement}

    def after_update(self, state, hp):
        decay = jnp.minimum(1 - 1 / (state.aux + 2), hp["ema_decay"])  # aux: the updates so far
        average = moving_average(state.teachers["teacher"], state.networks["student"], decay)
        return state.replace(teachers={"teacher": average}, aux=state.aux + 1)

    def published(self, state):
        return state.teachers["teacher"]
