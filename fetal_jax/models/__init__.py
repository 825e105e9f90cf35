"""Segmentation networks by name: `build_model("attention_unet", num_classes=4)`.

A network is a file of this package and a line below. docs/models.md shows how to add one.
"""

from fetal_jax.models import (  # noqa: F401 (each of them registers its networks)
    adu_net,
    attention_resunet,
    attention_unet,
    confidence_net,
    dual_cnn,
    ecau_net,
    fcrb_unet,
    plain_unet,
    resunet,
    resunet_c,
    swin_unet,
    unet,
    unet_plus_plus,
)
from fetal_jax.models.encoders import ENCODERS
from fetal_jax.models.registry import MODELS, build_model, options_of, register
from fetal_jax.models.segmentation_model import (
    PRECISIONS,
    SegmentationModel,
    gradients_by_intermediates,
    intermediates,
)

__all__ = [
    "ENCODERS",
    "MODELS",
    "PRECISIONS",
    "SegmentationModel",
    "build_model",
    "gradients_by_intermediates",
    "intermediates",
    "options_of",
    "register",
]
