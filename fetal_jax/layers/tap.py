"""What explanations and re-computation see of a network: named features on their way."""

import flax.linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Float

from fetal_jax.core.types import Array

KEPT = "feature"  # the name under which re-materialisation finds the features that it keeps


def tap(module: nn.Module, name: str, x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Returns x, and lets others see it and change it.

    It is recorded in the collection `intermediates` where that is mutable; `perturbations` of the same tree are added
    to it, so that a gradient by an inner feature is a gradient by them (Grad-CAM); and a re-materialised training step
    keeps it, while it computes again what lies between two taps.
    """
    if module.is_initializing():
        return x
    x = module.perturb(name, checkpoint_name(x, KEPT))
    module.sow("intermediates", name, x, init_fn=lambda: None, reduce_fn=lambda _, new: new)
    return x
