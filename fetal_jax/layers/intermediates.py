"""Named intermediate features of a network, for explanations and for re-materialisation."""

import flax.linen as nn
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Float

from fetal_jax.core.types import Array

KEPT = "feature"  # the name under which re-materialisation finds the features that it keeps


def record_intermediate(module: nn.Module, name: str, x: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Returns x, recorded under a name of the module that calls it.

    It is in the collection `intermediates` where that is mutable. `perturbations` of the same tree are added to it, so
    that a gradient by an inner feature is a gradient by them (Grad-CAM). A re-materialised training step keeps it, and
    computes again what lies between two recorded features.
    """
    if module.is_initializing():
        return x
    x = module.perturb(name, checkpoint_name(x, KEPT))
    module.sow("intermediates", name, x, init_fn=lambda: None, reduce_fn=lambda _, new: new)
    return x
