"""CutMix Mean Teacher (French et al., BMVC 2020): Mean Teacher on images in which boxes were exchanged.

L = L_supervised + lambda r MSE(student of a mixture of strong views, the same mixture of the teacher of the weak ones),
summed over classes and averaged over pixels. r is the share of pixels with a probability of at least `confident`: one
number for the batch, so that uncertain pixels, which lie on the borders, keep their gradient.

Read differently: the teacher is in evaluation mode here and in training mode there; lambda begins after `burn_in`
and there with the first step; strong views are those of the stage, there colour jitter.
"""

import dataclasses

import jax.numpy as jnp

from fetal_jax.losses.consistency import masked_mse
from fetal_jax.methods import base, registry
from fetal_jax.methods.context import probabilities
from fetal_jax.methods.mean_teacher import MeanTeacher
from fetal_jax.methods.mixing import boxes, cut_mix


@registry.register("cutmix_mean_teacher")
@dataclasses.dataclass(frozen=True)
class CutMixMeanTeacher(MeanTeacher):
    share: float = base.option(0.5, below=1)
    confident: float = base.option(0.97, below=1)

    def schedules(self):
        numbers = {"cutmix_share": base.constant(self.share), "confident": base.constant(self.confident)}
        return super().schedules() | numbers

    def agreement(self, ctx, views):
        inside = boxes(ctx.random_key("cutmix"), views.weights.shape, ctx.hp["cutmix_share"])
        weights = cut_mix(inside, views.weights)
        target = cut_mix(inside, probabilities(ctx.target("teacher", views.weak)))
        answer = probabilities(ctx.perturbed("student", cut_mix(inside, views.strong[0])))
        certain = jnp.max(target, axis=-1) >= ctx.hp["confident"]
        trusted = jnp.sum(weights * certain) / jnp.maximum(jnp.sum(weights), 1e-6)
        return trusted * masked_mse(answer, target, weights), {"trusted": trusted}
