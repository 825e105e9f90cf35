"""Segmentation networks by name."""

import flax.linen as nn

from fetal_jax.models.efficientnet import EfficientNetB0
from fetal_jax.models.unet import UNet
from fetal_jax.types import UserError

ENCODERS = {"efficientnet_b0": EfficientNetB0}
OPTIONS = ("encoder", "dropout", "se_reduction", "ca_reduction", "bn_momentum")
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


def build_model(
    name: str,
    *,
    num_classes: int = 1,
    encoder: str = "efficientnet_b0",
    dropout: float = 0.1,
    se_reduction: int = 32,
    ca_reduction: int = 32,
    bn_momentum: float = 0.99,
    **unknown,
) -> nn.Module:
    """The network `name`; its logits have `num_classes` channels, where 1 means foreground or not, by a sigmoid.

    `dropout` is the rate in each up block. The reductions count only where the network has that attention.
    `bn_momentum` 0.99 is Keras'; 0.9 suits runs of less than a thousand steps from random weights.
    Raises UserError for an unknown name, encoder or option, and for a value out of range.
    """
    _check_name("model", name, MODELS)
    for option in unknown:
        raise UserError(f"unknown option {option!r} of model {name!r}: choose one of {', '.join(OPTIONS)}")
    _check_name("encoder", encoder, ENCODERS)
    at_least_one = {"num_classes": num_classes, "se_reduction": se_reduction, "ca_reduction": ca_reduction}
    for key, value in at_least_one.items():
        if value < 1:
            raise UserError(f"{key} {value} of model {name!r} must be 1 or more")
    for key, value in {"dropout": dropout, "bn_momentum": bn_momentum}.items():
        if not 0 <= value < 1:
            raise UserError(f"{key} {value} of model {name!r} must be at least 0 and below 1")
    return MODELS[name](
        backbone=ENCODERS[encoder],
        num_classes=num_classes,
        dropout=dropout,
        se_reduction=se_reduction,
        ca_reduction=ca_reduction,
        bn_momentum=bn_momentum,
    )


def _check_name(what: str, name: str, allowed) -> None:
    if name not in allowed:
        raise UserError(f"unknown {what} {name!r}: choose one of {', '.join(allowed)}")
