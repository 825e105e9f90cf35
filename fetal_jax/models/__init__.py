"""Segmentation networks by name."""

import inspect
from typing import Any

from fetal_jax.core.types import UserError
from fetal_jax.models.adu_net import adu_net
from fetal_jax.models.attention_resunet import attention_resunet
from fetal_jax.models.attention_unet import attention_unet
from fetal_jax.models.confidence_net import confidence_net
from fetal_jax.models.dual_cnn import dual_cnn
from fetal_jax.models.ecau_net import ecau_net
from fetal_jax.models.encoders import ENCODERS
from fetal_jax.models.fcrb_unet import fcrb_unet
from fetal_jax.models.network import PRECISIONS, Network, gradients_by_intermediates, intermediates
from fetal_jax.models.plain_unet import plain_unet
from fetal_jax.models.resunet import resunet
from fetal_jax.models.resunet_c import resunet_c
from fetal_jax.models.swin_unet import swin_unet
from fetal_jax.models.unet import ca_unet, case_unet, se_unet, unet
from fetal_jax.models.unet_plus_plus import unet_plus_plus

__all__ = ["ENCODERS", "MODELS", "PRECISIONS", "Network", "build_model", "gradients_by_intermediates", "intermediates"]

MODELS = {
    factory.__name__: factory
    for factory in (
        unet,
        ca_unet,
        se_unet,
        case_unet,
        adu_net,
        plain_unet,
        resunet,
        attention_unet,
        attention_resunet,
        unet_plus_plus,
        confidence_net,
        dual_cnn,
        ecau_net,
        fcrb_unet,
        resunet_c,
        swin_unet,
    )
}
RATES = ("dropout", "bn_momentum")


def build_model(
    name: str, *, num_classes: int = 1, precision: str = "float32", remat: bool = False, **options: Any
) -> Network:
    """The network `name`; its logits have `num_classes` channels, where 1 means foreground or not, by a sigmoid.

    `precision` is that of the computation, float32 or bfloat16; `remat` trains in less memory (`Network`). The options
    are those of the network's function in its file. Raises UserError for an unknown name, encoder, precision or option,
    and for a value out of range.
    """
    _check_name("model", name, MODELS)
    _check_name("precision", precision, PRECISIONS)
    allowed = options_of(name)
    for option, value in options.items():
        if option not in allowed:
            raise UserError(f"unknown option {option!r} of model {name!r}: choose one of {', '.join(allowed)}")
        _check_value(name, option, value, allowed[option])
    if not isinstance(num_classes, int) or num_classes < 1:
        raise UserError(f"num_classes {num_classes!r} of model {name!r} must be a whole number, 1 or more")
    if not isinstance(remat, bool):
        raise UserError(f"remat {remat!r} must be True or False")
    return MODELS[name](num_classes=num_classes, precision=precision, **options).clone(remat=remat)


def options_of(name: str) -> dict[str, Any]:
    """The options of a network and their defaults."""
    parameters = inspect.signature(MODELS[name]).parameters
    return {key: p.default for key, p in parameters.items() if key not in ("num_classes", "precision")}


def _check_value(model: str, option: str, value: Any, default: Any) -> None:
    """Raises UserError for a value out of range. Which range, the option's name or the type of its default tells."""
    key = f"{option} {value!r} of model {model!r}"
    if option == "encoder":
        _check_name("encoder", value, ENCODERS)
    elif option in RATES:
        if not isinstance(value, int | float) or not 0 <= value < 1:
            raise UserError(f"{key} must be a number, at least 0 and below 1")
    elif isinstance(default, bool):
        if not isinstance(value, bool):
            raise UserError(f"{key} must be True or False")
    elif isinstance(default, int) and (not isinstance(value, int) or value < 1):
        raise UserError(f"{key} must be a whole number, 1 or more")


def _check_name(what: str, name: str, allowed) -> None:
    if name not in list(allowed):  # whatever it is: a dict would refuse what has no hash
        raise UserError(f"unknown {what} {name!r}: choose one of {', '.join(allowed)}")
