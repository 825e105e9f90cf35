"""The registry of networks: their names, their options, and how one is built."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fetal_jax.core.types import UserError
from fetal_jax.models.encoders import ENCODERS
from fetal_jax.models.segmentation_model import PRECISIONS, SegmentationModel

Factory = TypeVar("Factory", bound=Callable[..., SegmentationModel])

MODELS: dict[str, Callable[..., SegmentationModel]] = {}  # by name, which is that of the function
RATES = ("dropout", "bn_momentum")


def register(factory: Factory) -> Factory:
    """Enters a function that builds a network in `MODELS`, under the function's name.

    It takes keyword arguments only: `num_classes`, `precision="float32"`, and options with defaults, from which
    `build_model` learns their types. Raises ValueError if another module has registered a network of that name.
    """
    name = factory.__name__
    if name in MODELS and MODELS[name].__module__ != factory.__module__:
        raise ValueError(f"network {name!r} of {factory.__module__} is already that of {MODELS[name].__module__}")
    MODELS[name] = factory
    return factory


def build_model(
    name: str, *, num_classes: int = 1, precision: str = "float32", remat: bool = False, **options: Any
) -> SegmentationModel:
    """The network `name`; its logits have `num_classes` channels, where 1 means foreground or not, by a sigmoid.

    `precision` is that of the computation, float32 or bfloat16; `remat` trains in less memory: see `SegmentationModel`.
    The options are those of the network's function in its file. Raises UserError for an unknown name, encoder,
    precision or option, and for a value out of range.
    """
    _check_name("model", name, sorted(MODELS))
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
    """Raises UserError for a value out of range. The option's name or the type of its default tells the range."""
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


def _check_name(what: str, name: str, allowed: Iterable[str]) -> None:
    if name not in list(allowed):  # whatever it is: a dict would raise TypeError for what has no hash
        raise UserError(f"unknown {what} {name!r}: choose one of {', '.join(allowed)}")
