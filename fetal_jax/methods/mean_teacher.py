"""Mean Teacher (Tarvainen & Valpola, NeurIPS 2017): agree with the moving average of one's own weights.

L = L_supervised + lambda MSE(student of the strong view, teacher of the weak view). The teacher has averaged parameters
and statistics and is in evaluation mode; its decay at update t is min(1 - 1 / (t + 1), `decay`). lambda is 0 until the
share `burn_in` of the stage, and `consistency` from twice that on.
"""

import dataclasses

import jax.numpy as jnp

from fetal_jax.losses.consistency import masked_mse
from fetal_jax.methods import base, registry
from fetal_jax.methods.context import probabilities


@registry.register("mean_teacher")
@dataclasses.dataclass(frozen=True)
class MeanTeacher(base.Method):
    consistency: float = base.option(1.0)
    burn_in: float = base.option(0.2, below=0.5)
    decay: float = base.option(0.99, below=1)
    views = 1

    def schedules(self):
        ramp = base.linear_ramp(self.consistency, self.burn_in, 2 * self.burn_in)
        return {"consistency_weight": ramp, "ema_decay": base.constant(self.decay)}

    def enter(self, state, key):
        return state.replace(teachers={"teacher": base.copied(state.networks["student"])}, aux=jnp.zeros(()))

    def loss(self, ctx, batch):
        fit = ctx.supervised_loss(ctx.forward("student", batch.labelled.image), batch.labelled)
        agreement, logged = self.agreement(ctx, batch.views)
        logged = {"supervised": fit, "consistency": agreement} | logged
        return fit + ctx.hp["consistency_weight"] * agreement, logged

    def agreement(self, ctx, views):
        """How far the student is from the teacher on the unlabelled images, and what is logged beside it."""
        target = probabilities(ctx.target("teacher", views.weak))
        answer = probabilities(ctx.perturbed("student", views.strong[0]))
        return masked_mse(answer, target, views.weights), {}

    def after_update(self, state, hp):
        decay = jnp.minimum(1 - 1 / (state.aux + 2), hp["ema_decay"])  # aux: the updates so far
        average = base.moving_average(state.teachers["teacher"], state.networks["student"], decay)
        return state.replace(teachers={"teacher": average}, aux=state.aux + 1)

    def published(self, state):
        return state.teachers["teacher"]
