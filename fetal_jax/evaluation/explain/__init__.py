"""Why a network segments as it does: maps of what speaks for a class, how concentrated they are, and whether to trust
them. For images; networks of volumes have the same layers, but nothing here looks at them.
"""

from fetal_jax.evaluation.explain.concentration import Concentration, concentration
from fetal_jax.evaluation.explain.explanations import METHODS, Explainer, Explanations, heat
from fetal_jax.evaluation.explain.gradients import grad_cam, gradient, guided_grad_cam
from fetal_jax.evaluation.explain.layers import attention_maps, default_layer, layers
from fetal_jax.evaluation.explain.occlusion import occlusion
from fetal_jax.evaluation.explain.sanity import Similarity, blocks, passed, randomised, sanity, similarity
from fetal_jax.evaluation.explain.target import Saliency

__all__ = [
    "METHODS",
    "Concentration",
    "Explainer",
    "Explanations",
    "Saliency",
    "Similarity",
    "attention_maps",
    "blocks",
    "concentration",
    "default_layer",
    "grad_cam",
    "gradient",
    "guided_grad_cam",
    "heat",
    "layers",
    "occlusion",
    "passed",
    "randomised",
    "sanity",
    "similarity",
]
