"""JSON files that outlive a run: written atomically, and marked with the number of their format.

The number is the file's first key, "format". A program that reads files of format N also reads older ones, if it
says how, and refuses newer ones. A file without the key is of format 1: it was written before there were numbers.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError

KEY = "format"
REMEDY = "restore it, or write it anew"


class NewerFormat(UserError):
    """The file is of a newer format than this version reads."""


def write_json(path: str | os.PathLike, value: Mapping[str, Any], *, format: int) -> None:
    """Writes a mapping as a JSON object of that format; the folder must exist, and a failure leaves the old file.

    Raises ValueError for a number that JSON does not have (NaN, infinity) and for a value with a "format" of its own.
    """
    text = to_text(value, format=format)
    with replacing_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def to_text(value: Mapping[str, Any], *, format: int) -> str:
    """What `write_json` writes."""
    if KEY in value:
        raise ValueError(f"the key {KEY!r} is the format's: name that of the value otherwise")
    return json.dumps({KEY: format, **value}, indent=2, allow_nan=False) + "\n"


def read_json(path: str | os.PathLike, *, format: int, what: str, remedy: str = REMEDY) -> dict[str, Any]:
    """The JSON object in a file of format `format` or older, without the key "format".

    `what` names the kind of file in errors, with its article: "a split"; `remedy` is for a damaged one. Raises
    UserError if the file cannot be read or is not a JSON object, and NewerFormat, a UserError, for a newer format.
    """
    try:
        text = pathlib.Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): give the path of {what}") from error
    return from_text(text, origin=str(path), format=format, what=what, remedy=remedy)


def from_text(text: str, *, origin: str, format: int, what: str, remedy: str = REMEDY) -> dict[str, Any]:
    """As `read_json`, of a text that comes from `origin`."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{origin}: is not {what}, or damaged ({error}): {remedy}") from error
    if not isinstance(value, dict):
        raise UserError(f"{origin}: is not {what} (a JSON {_kind(value)}, not an object): {remedy}")
    return without_format(value, origin=origin, format=format, what=what, remedy=remedy)


def without_format(
    value: Mapping[str, Any], *, origin: str, format: int, what: str, remedy: str = REMEDY
) -> dict[str, Any]:
    """An object that was read from `origin`, without the key "format", which is checked as in `read_json`."""
    found = value.get(KEY, 1)
    if type(found) is not int or found < 1:
        raise UserError(f"{origin}: is not {what} (its format is {found!r}): {remedy}")
    if found > format:
        raise NewerFormat(
            f"{origin}: is of format {found}, and this version reads {what} up to format {format}: "
            "install a newer fetal_jax"
        )
    return {key: each for key, each in value.items() if key != KEY}


def _kind(value: Any) -> str:
    """What JSON calls a value that is not an object."""
    if value is None:
        return "null"
    kinds = {bool: "boolean", int: "number", float: "number", str: "string", list: "list"}
    return kinds[type(value)]
