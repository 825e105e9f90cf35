"""Cross pseudo supervision (Chen et al., CVPR 2021): two networks, each trained on the other's labels."""

import dataclasses

from fetal_jax.losses.compose import masked_mean
from fetal_jax.losses.cross_entropy import cross_entropy
from fetal_jax.methods.base import Method, linear_ramp, option
from fetal_jax.methods.context import hard_labels
from fetal_jax.methods.registry import register


@register("cps")
@dataclasses.dataclass(frozen=True)
class CrossPseudoSupervision(Method):
    """L = sum over both networks of L_supervised + lambda CE(own logits, most probable class of the other).

    The networks differ in their random numbers alone; the first is published. lambda is 0 until the share `burn_in` of
    the stage, and `weight` from twice that on.
    """

    weight: float = option(1.0)
    burn_in: float = option(0.1, below=0.5)
    networks = ("a", "b")

    def schedules(self):
        return {"cps_weight": linear_ramp(self.weight, self.burn_in, 2 * self.burn_in)}

    def loss(self, ctx, batch):
        weak, weights = batch.views.weak, batch.views.weights
        fits = [ctx.supervised_loss(ctx.forward(n, batch.labelled.image), batch.labelled) for n in self.networks]
        labels = {n: hard_labels(ctx.target(n, weak)) for n in self.networks}
        crossed = [
            masked_mean(cross_entropy(ctx.perturbed(own, weak), labels[other], weights), weights)
            for own, other in (self.networks, self.networks[::-1])
        ]
        loss = sum(fits) + ctx.hp["cps_weight"] * sum(crossed)
        return loss, {"supervised": sum(fits), "cross_supervision": sum(crossed)}
