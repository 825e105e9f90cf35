"""What configs share: reading their argument, and the published protocol."""

import difflib
from collections.abc import Mapping
from typing import Any

from fetal_jax.types import UserError


def parse_argument(argument: str, **defaults: Any) -> dict[str, Any]:
    """`"dataset=hc18,size=128"` over typed defaults. Raises UserError for an unknown key or a value of another type."""
    values = dict(defaults)
    for pair in filter(None, argument.split(",")):
        key, _, text = pair.partition("=")
        if key not in defaults:
            close = difflib.get_close_matches(key, defaults, n=1)
            hint = f": did you mean {close[0]!r}?" if close else f": choose from {', '.join(defaults)}"
            raise UserError(f"config argument {key!r} is unknown{hint}")
        try:
            values[key] = type(defaults[key])(text)
        except ValueError:
            kind = type(defaults[key]).__name__
            raise UserError(f"config argument {key!r} must be of type {kind}: got {text!r}") from None
    return values


def choose(key: str, value: str, table: Mapping[str, Any]) -> Any:
    """The entry of a table. Raises UserError naming the argument if it has none of that name."""
    if value not in table:
        raise UserError(f"config argument {key}={value} is unknown: choose one of {', '.join(table)}")
    return table[value]
