"""Configs: Python files whose `get_config` returns data. Loaded, overridden, checked, frozen, written down.

A key that does not exist, and a key that exists but that nothing reads, are both errors: a setting that silently does
nothing is how wrong results get published.
"""

import difflib
import importlib.util
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

from fetal_jax.atomic import replacing_file
from fetal_jax.types import UserError


class Settings:
    """A read-only view of nested settings that remembers which of them were read."""

    def __init__(self, values: dict[str, Any], path: str = "", read: set[str] | None = None):
        self._values, self._path = values, path
        self._read = set() if read is None else read

    def __getattr__(self, key: str) -> Any:
        if key.startswith("_"):
            raise AttributeError(key)
        if key not in self._values:
            raise UserError(f"config key {self._path + key!r} is missing: this program needs it")
        value, path = self._values[key], self._path + key
        if isinstance(value, dict):
            return Settings(value, path + ".", self._read)
        self._read.add(path)
        return value

    def take(self, *keys: str) -> dict[str, Any]:
        """The named settings as plain data. What is below here and not named stays unread."""
        return {key: getattr(self, key) for key in keys}

    def to_dict(self) -> dict[str, Any]:
        """All settings below here as plain data, for a reader that checks their names; every one counts as read."""
        self._read.update(self._leaves())
        return self._values

    def unread(self) -> list[str]:
        """The dotted keys that nothing has read."""
        return [path for path in self._leaves() if path not in self._read]

    def _leaves(self) -> Iterator[str]:
        for key, value in self._values.items():
            if isinstance(value, dict):
                yield from Settings(value, f"{self._path}{key}.")._leaves()
            else:
                yield self._path + key


def reject_unread(settings: Settings) -> None:
    """Raises UserError if a key was set that no part of the program looked at."""
    unread = settings.unread()
    if unread:
        raise UserError(f"config key {unread[0]!r} is read by nothing: remove it from the config")


def load(spec: str, overrides: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The settings of `path/to/config.py[:arguments]` with `(dotted key, text)` overrides, as plain data."""
    path, _, argument = spec.partition(":")
    try:
        config = _get_config(pathlib.Path(path))(argument)
    except UserError:
        raise
    except Exception as error:  # a config is the user's program
        raise UserError(f"config {path} fails with {type(error).__name__}: {error}") from error
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"config {path}: get_config() must return a ConfigDict, not {type(config).__name__}")
    for key, text in overrides:
        _override(config, key, text)
    return to_plain(config)


def to_plain(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The config as JSON data (tuples become lists), so that what is run equals what is read back from disk."""
    return json.loads(json.dumps(config.to_dict()))


def _get_config(path: pathlib.Path):
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"config {path} is no such Python file: give the path of one with get_config()")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if not hasattr(module, "get_config"):
        raise UserError(f"config {path} has no get_config(): add a function that returns a ConfigDict")
    return module.get_config


def _override(config: ml_collections.ConfigDict, key: str, text: str) -> None:
    *parents, last = key.split(".")
    node = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, ml_collections.ConfigDict) else None
    if not isinstance(node, ml_collections.ConfigDict) or last not in node:
        raise UserError(f"config key {key!r} is unknown{_suggestion(config, key)}")
    if isinstance(node[last], ml_collections.ConfigDict):
        raise UserError(f"config key {key!r} is a group: set one of {', '.join(f'{key}.{k}' for k in node[last])}")
    node[last] = _parse(key, text, node[last])


def _suggestion(config: ml_collections.ConfigDict, key: str) -> str:
    known = list(Settings(config.to_dict())._leaves())
    close = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f": known keys are {', '.join(known)}"


def _parse(key: str, text: str, old: Any) -> Any:
    """The text as a value of the old value's type."""
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, int | float):
            return type(old)(text)
        if isinstance(old, tuple | list):
            kind = type(old[0]) if len(old) else str
            return type(old)(kind(part) for part in text.split(",") if part)
    except (ValueError, KeyError):
        raise UserError(f"config key {key!r} must be of type {type(old).__name__}: got {text!r}") from None
    return text


def write_or_compare(settings: dict[str, Any], workdir: pathlib.Path) -> None:
    """Writes `config.json` into a new workdir; in an existing one, raises UserError unless it says the same."""
    path = workdir / "config.json"
    if path.exists():
        differing = differences(read(workdir), settings)
        if differing:
            raise UserError(
                f"workdir {workdir} belongs to another config ({differing[0]} differs): choose another --workdir"
            )
        return
    workdir.mkdir(parents=True, exist_ok=True)
    with replacing_file(path) as partial:
        partial.write_text(json.dumps(settings, indent=2) + "\n")


def read(workdir: pathlib.Path) -> dict[str, Any]:
    """The settings that a workdir was made with."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"{workdir} is not a workdir (no config.json): give the --workdir of a training run")
    return json.loads(path.read_text())


def differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """The dotted keys in which two nested settings differ."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{path}{key}.")
        elif a != b or (key in old) != (key in new):
            found.append(path + key)
    return found
