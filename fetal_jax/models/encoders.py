"""Encoders by name: what the U-Nets of SS_CASE_UNet are built on."""

import flax.linen as nn

from fetal_jax.models.efficientnet import EfficientNetB0

ENCODERS = {"efficientnet_b0": EfficientNetB0}


def make_encoder(name: str, bn_momentum: float) -> nn.Module:
    """The encoder `name`: its call gives five features, of strides 2, 4, 8, 16 and 32."""
    return ENCODERS[name](bn_momentum=bn_momentum)
