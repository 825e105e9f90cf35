"""Segmentation networks by name."""

import flax.linen as nn

from fetal_jax.models.efficientnet import EfficientNetB0
from fetal_jax.models.unet import UNet
from fetal_jax.types import UserError

ENCODERS = {"efficientnet_b0": EfficientNetB0}
WIDE, NARROW = (256, 128, 64, 32, 16), (128, 64, 32, 16, 8)


def unet(**kwargs) -> UNet:
    """U-Net: no attention, the wide decoder."""
    return UNet(filters=WIDE, **{**kwargs, "se_reduction": None, "ca_reduction": None})


def ca_unet(**kwargs) -> UNet:
    """U-Net with coordinate attention on the bottleneck."""
    return UNet(filters=WIDE, **{**kwargs, "se_reduction": None})


def se_unet(**kwargs) -> UNet:
    """U-Net with squeeze-and-excitation on skips and up blocks, and half the filters."""
    return UNet(filters=NARROW, **{**kwargs, "ca_reduction": None})


def case_unet(**kwargs) -> UNet:
    """CASE_UNet: both attentions, half the filters."""
    return UNet(filters=NARROW, **kwargs)


MODELS = {factory.__name__: factory for factory in (unet, ca_unet, se_unet, case_unet)}


def build_model(name: str, *, num_classes: int = 1, **kwargs) -> nn.Module:
    """The network `name`, untrained.

    `num_classes` counts logit channels; 1 means foreground against background by a sigmoid. Options: `encoder`
    ("efficientnet_b0"), `dropout` (rate in each up block, 0.1), `se_reduction` and `ca_reduction` (32; only where the network
    has that attention), `bn_momentum` (0.99 as in Keras; 0.9 suits runs under a thousand steps).
    Raises UserError for an unknown name, option or encoder.
    """
    options = {
        "encoder": "efficientnet_b0",
        "dropout": 0.1,
        "se_reduction": 32,
        "ca_reduction": 32,
        "bn_momentum": 0.99,
    }
    _check("model", name, MODELS)
    for option in kwargs:
        _check(f"option of model {name!r}:", option, options)
    options.update(kwargs)
    encoder = options.pop("encoder")
    _check("encoder", encoder, ENCODERS)
    return MODELS[name](num_classes=num_classes, backbone=ENCODERS[encoder], **options)


def _check(what: str, name: str, allowed) -> None:
    if name not in allowed:
        raise UserError(f"unknown {what} {name!r}: choose one of {', '.join(allowed)}")
