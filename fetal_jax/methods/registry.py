"""The registry of training methods: a method by its name and options."""

import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from fetal_jax.core.types import UserError
from fetal_jax.methods.base import Method

M = TypeVar("M", bound=type[Method])
METHODS: dict[str, type[Method]] = {}


def register(name: str) -> Callable[[M], M]:
    """Makes a class of this package the method of that name."""

    def add(method: M) -> M:
        METHODS[name] = method
        return method

    return add


def make_method(name: str, options: Mapping[str, Any], key: str = "method") -> Method:
    """The method `name` with its options. Raises UserError, under the config key `key`, for what it does not take."""
    if name not in METHODS:
        raise UserError(f"{key} {name!r} is unknown: choose one of {', '.join(sorted(METHODS))}")
    fields = {field.name: field for field in dataclasses.fields(METHODS[name])}
    for option, value in options.items():
        if option not in fields:
            close = difflib.get_close_matches(option, fields, n=1)
            choices = f"did you mean {close[0]!r}?" if close else f"its options are {', '.join(fields) or 'none'}"
            raise UserError(f"{key}.{option} is not an option of {name}: {choices}")
        below = fields[option].metadata["below"]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < below:
            limit = f"below {below:g}" if below < math.inf else "finite"
            raise UserError(f"{key}.{option} is {value!r}: it must be a number, at least 0 and {limit}")
    return METHODS[name](**{option: float(value) for option, value in options.items()})
