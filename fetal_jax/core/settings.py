"""Typed settings: frozen dataclasses made of plain data, in which every key has a type and a line of documentation.

A key that no dataclass declares is an error: a setting that silently does nothing is how wrong results get published.
"""

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

from fetal_jax.core.types import UserError

T = TypeVar("T")
KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text"}


def setting(doc: str, default: Any = dataclasses.MISSING) -> Any:
    """A field of a settings dataclass, with the line that documents it; a config says every key all the same."""
    return dataclasses.field(default=default, metadata={"doc": doc})


def from_dict(cls: type[T], values: Mapping[str, Any], path: str = "") -> T:
    """The settings of plain data. Raises UserError for a key that is missing, unknown, or of another type."""
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # a dataclass
    hints = typing.get_type_hints(cls)
    for key in values:
        if key not in fields:
            close = difflib.get_close_matches(key, fields, n=1)
            hint = f"did you mean {path + close[0]!r}?" if close else f"choose from {', '.join(fields)}"
            raise UserError(f"config key {path + key!r} is unknown, nothing reads it: {hint}")
    known = {}
    for name, field in fields.items():
        if name in values:
            known[name] = _value(hints[name], values[name], path + name)
        elif not _optional(hints[name]):
            raise UserError(f"config key {path + name!r} is missing: it is {field.metadata.get('doc', 'needed')}")
        else:
            known[name] = None
    return cls(**known)


def documented(cls: type, path: str = "") -> Iterator[tuple[str, str]]:
    """Every dotted key of a settings dataclass and its documentation."""
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        kind = _inner(hints[field.name])
        yield path + field.name, field.metadata.get("doc", "")
        if dataclasses.is_dataclass(kind):
            listed = typing.get_origin(hints[field.name]) is tuple
            yield from documented(typing.cast(type, kind), f"{path}{field.name}.{'NAME.' if listed else ''}")


def _optional(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _inner(hint: Any) -> Any:
    """The type of a value, or of the entries of a tuple of any length."""
    if _optional(hint):
        return next(kind for kind in typing.get_args(hint) if kind is not type(None))
    return typing.get_args(hint)[0] if typing.get_origin(hint) is tuple else hint


def _value(hint: Any, value: Any, key: str) -> Any:
    kind = _inner(hint)
    if value is None and _optional(hint):
        return None
    if typing.get_origin(hint) is tuple:
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise UserError(f"config key {key!r} must be a list: got {value!r}")
        return tuple(_value(kind, entry, f"{key}.{_label(entry, i)}") for i, entry in enumerate(value))
    if dataclasses.is_dataclass(kind) or typing.get_origin(kind) is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"config key {key!r} must be a group of keys: got {value!r}")
        if dataclasses.is_dataclass(kind):
            return from_dict(typing.cast(type, kind), value, f"{key}.")
        of = typing.get_args(kind)[1]
        return {name: entry if of is Any else _value(of, entry, f"{key}.{name}") for name, entry in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise UserError(f"config key {key!r} must be {KINDS[kind]}: got {value!r}")
    if kind is float and math.isnan(value):
        raise UserError(f"config key {key!r} is not a number: give one")
    return value


def _label(entry: Any, index: int) -> str:
    return entry["name"] if isinstance(entry, Mapping) and isinstance(entry.get("name"), str) else str(index)
