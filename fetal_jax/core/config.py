"""Configs: Python files whose `get_config` returns data. Loaded, overridden, resolved, written down.

A setting that follows from others is a `follows(function of them)`: it is computed when the overrides of those are
known, so that it follows an override too, and it can be overridden itself.
"""

import ast
import dataclasses
import difflib
import importlib.util
import json
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_collections

from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError

FORMAT = 2  # of config.json
OPEN_GROUPS = ("model", "method", "loss_weights")  # groups that take options which the config does not list
OVERRIDES = "overrides"  # where `override` keeps its values until the config is loaded


@dataclasses.dataclass(frozen=True)
class Follows:
    """A setting that is computed from others."""

    compute: Callable[[Any], Any]


def follows(compute: Callable[[Any], Any]) -> Any:
    """A setting that follows from others: `config.half = follows(lambda c: c.batch_size // 2)`.

    It sees the other settings as the user overrode them, and what follows from those.
    """
    return Follows(compute)


def override(config: ml_collections.ConfigDict, key: str, value: Any) -> None:
    """Sets a dotted key of a config that builds on another one, also inside of what follows from other settings.

    `override(config, "stages.fine_tune.epochs", 20)` is what `--config.stages.fine_tune.epochs=20` does, with a value
    instead of its text.
    """
    config[OVERRIDES] = (*config.get(OVERRIDES, ()), (key, value))


def load(spec: str, overrides: Sequence[tuple[str, str]] = ()) -> dict[str, Any]:
    """The settings of `path/to/config.py[:arguments]` with `(dotted key, text)` overrides, as plain data.

    Raises UserError for a file that is not a config, a key that is unknown, and a value of another type.
    """
    path, _, argument = spec.partition(":")
    config = _call(path, _module(pathlib.Path(path)).get_config, argument)
    if not isinstance(config, ml_collections.ConfigDict):
        raise UserError(f"config {path}: get_config() must return a ConfigDict, not {type(config).__name__}")
    values = _copied(config)
    given = [(key, value) for key, value in values.pop(OVERRIDES, ())]
    typed = [(key, _Text(text)) for key, text in overrides]
    # The name of a network or method first: it clears the options of the one before.
    ordered = [*sorted(given, key=lambda each: not _is_name(each[0])), *sorted(typed, key=lambda e: not _is_name(e[0]))]
    return _call(path, _resolved, values, ordered)


def sweep(spec: str) -> list[list[tuple[str, str]]]:
    """The points of a config's `sweep()`: overrides as `load` takes them. Raises UserError where it has none."""
    path, _, argument = spec.partition(":")
    module = _module(pathlib.Path(path))
    if not hasattr(module, "sweep"):
        raise UserError(f"config {path} has no sweep(): add a function that returns a list of {{key: value}}")
    points = _call(path, module.sweep, argument)
    return [[(key, _text(value)) for key, value in point.items()] for point in points]


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, tuple | list) else str(value)


class _Text(str):
    """The value of an override as the user typed it."""


def _call(path: str, function: Callable, *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except UserError:
        raise
    except Exception as error:  # a config is the user's program
        raise UserError(f"config {path} fails with {type(error).__name__}: {error}") from error


def _module(path: pathlib.Path) -> Any:
    if not path.is_file() or path.suffix != ".py":
        raise UserError(f"config {path} is not a Python file: give the path of one with get_config()")
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"config {path} cannot be loaded: give a Python file")
    module = importlib.util.module_from_spec(spec)
    _call(str(path), spec.loader.exec_module, module)
    if not hasattr(module, "get_config"):
        raise UserError(f"config {path} has no get_config(): add a function that returns a ConfigDict")
    return module


def _resolved(values: dict[str, Any], overrides: list[tuple[str, Any]]) -> dict[str, Any]:
    """Plain data: every override in its place, and what follows from others computed."""
    waiting = []
    for key, value in overrides:
        if _follows_at(values, key):
            waiting.append((key, value))
        else:
            _set(values, key, value)
    resolver = _Resolver(values, waiting)
    for name in values:
        resolver(name)
    for key, value in leaves(values):
        if isinstance(value, Follows):
            raise UserError(f"config key {key!r} follows from others inside a group: let the whole group follow")
    return json.loads(json.dumps(values))  # tuples become lists: what is run equals what is read back from disk


class _Resolver:
    """Computes what follows from others when it is asked for, and applies the overrides that wait for it."""

    def __init__(self, values: dict[str, Any], waiting: list[tuple[str, Any]]):
        self._values, self._waiting, self._computing = values, waiting, set[str]()

    def __call__(self, name: str) -> Any:
        value = self._values[name]
        if isinstance(value, Follows):
            if name in self._computing:
                raise UserError(f"config key {name!r} follows from itself: set it to a value")
            self._computing.add(name)
            self._values[name] = _copied(value.compute(_Settings(self)))
            for key, given in self._waiting:
                if key.split(".")[0] == name:
                    _set(self._values, key, given)
        return self._values[name]

    def known(self) -> list[str]:
        return list(self._values)


class _Settings:
    """What a function of other settings sees of them: `c.batch_size`, `c.split.labelled`."""

    def __init__(self, resolver: _Resolver):
        self._resolver = resolver

    def __getattr__(self, name: str) -> Any:
        if name not in self._resolver.known():
            raise AttributeError(f"no setting {name!r}")
        value = self._resolver(name)
        return ml_collections.ConfigDict(value, type_safe=False) if isinstance(value, dict) else value


def _copied(value: Any) -> Any:
    """The same with containers of its own: stages that a config builds of one dict do not share it."""
    if isinstance(value, ml_collections.ConfigDict | dict):
        return {key: _copied(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_copied(entry) for entry in value)
    return value


def _follows_at(values: dict[str, Any], key: str) -> bool:
    return isinstance(values.get(key.split(".")[0]), Follows)


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key. A part of the key names an entry of a group, or a stage of a list by its name or number."""
    *parents, last = key.split(".")
    node: Any = values
    for parent in parents:
        node = _child(values, node, parent, key)
    if isinstance(node, list | tuple):
        raise UserError(f"config key {key!r} is a group: set one of its keys")
    if not isinstance(node, dict) or (last not in node and not (parents and parents[-1] in OPEN_GROUPS)):
        raise UserError(f"config key {key!r} is unknown{_suggestion(values, key)}")
    old = node.get(last)
    if isinstance(old, dict):
        raise UserError(f"config key {key!r} is a group: set one of {', '.join(f'{key}.{k}' for k in old)}")
    if isinstance(old, list | tuple) and old and isinstance(old[0], dict):
        node[last] = _selected(old, key, value)
    else:
        if _is_name(key) and value != old:
            node.clear()  # the options of another network or method are not its
        typed = isinstance(value, _Text)
        node[last] = (_literal(value) if old is None else _parse(key, value, old)) if typed else value


def _is_name(key: str) -> bool:
    """Whether the key names what the other keys of its group are options of."""
    return key.split(".")[-2:] in (["model", "name"], ["method", "name"])


def _child(values: dict[str, Any], node: Any, part: str, key: str) -> Any:
    if isinstance(node, dict) and part in node:
        return node[part]
    if isinstance(node, list | tuple):
        for index, entry in enumerate(node):
            if isinstance(entry, dict) and part in (entry.get("name"), str(index)):
                return entry
        names = [entry["name"] for entry in node if isinstance(entry, dict) and "name" in entry]
        raise UserError(f"config key {key!r} is unknown: there is no {part!r}, choose from {', '.join(names)}")
    raise UserError(f"config key {key!r} is unknown{_suggestion(values, key)}")


def _selected(entries: Sequence[dict[str, Any]], key: str, value: Any) -> list[dict[str, Any]]:
    """The entries of a list that are named, in the order in which they are."""
    by_name = {entry["name"]: entry for entry in entries}
    names = [part for part in value.split(",") if part] if isinstance(value, str) else list(value)
    for name in names:
        if name not in by_name:
            raise UserError(f"config key {key!r} names {name!r}: choose from {', '.join(by_name)}, in any order")
    return [by_name[name] for name in names]


def leaves(values: dict[str, Any], path: str = "") -> Iterator[tuple[str, Any]]:
    """The dotted keys of nested settings and their values; the entries of a list of stages go by their names."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}{key}.")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
            for index, entry in enumerate(value):
                yield from leaves(entry, f"{path}{key}.{entry.get('name', index)}.")
        else:
            yield path + key, value


def _suggestion(values: dict[str, Any], key: str) -> str:
    known = [key for key, _ in leaves(values)]
    close = difflib.get_close_matches(key, known, n=1)
    return f": did you mean {close[0]!r}?" if close else f": known keys are {', '.join(known)}"


def _literal(text: str) -> Any:
    """A number, a truth value or text, by how it is written."""
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return str(text)
    return value if isinstance(value, int | float) else str(text)


def _parse(key: str, text: str, old: Any) -> Any:
    """The text as a value of the old value's type."""
    try:
        if isinstance(old, bool):
            return {"true": True, "false": False}[text.lower()]
        if isinstance(old, int | float):
            return type(old)(text)
        if isinstance(old, tuple | list):
            kind = type(old[0]) if len(old) else str
            return [kind(part) for part in text.split(",") if part]
    except (ValueError, KeyError):
        raise UserError(f"config key {key!r} must be of type {type(old).__name__}: got {str(text)!r}") from None
    return str(text)


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
        partial.write_text(json.dumps({"format": FORMAT} | settings, indent=2) + "\n")


def read(workdir: pathlib.Path) -> dict[str, Any]:
    """The settings that a workdir was made with."""
    path = workdir / "config.json"
    if not path.is_file():
        raise UserError(f"{workdir} is not a workdir (no config.json): give the --workdir of a training run")
    try:
        settings = json.loads(path.read_text())
        found = int(settings.pop("format", 1))
    except (ValueError, AttributeError, TypeError):  # not JSON, not text, or not an object with keys
        raise UserError(f"{path} is damaged: restore the file, or train in another --workdir") from None
    if found > FORMAT:
        raise UserError(f"{path} has format {found}, this version reads {FORMAT}: install a newer fetal_jax")
    if found < FORMAT:
        raise UserError(
            f"{path} has format {found}, of fetal_jax 0.1: install that version for this workdir, or train in another "
            "--workdir; its model/ folder can still be used with fetal-jax predict"
        )
    return settings


def differences(old: dict[str, Any], new: dict[str, Any], path: str = "") -> list[str]:
    """The dotted keys in which two nested settings differ."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if _names(a) and _names(a) == _names(b):  # the same stages in the same order
            a, b = _by_name(a), _by_name(b)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{path}{key}.")
        elif a != b or (key in old) != (key in new):
            found.append(path + key)
    return found


def _names(value: Any) -> list[str]:
    """The names of a list of stages; empty for anything else."""
    named = isinstance(value, list | tuple) and all(isinstance(entry, dict) and "name" in entry for entry in value)
    return [entry["name"] for entry in value] if named else []


def _by_name(entries: Any) -> dict[str, Any]:
    return {entry["name"]: entry for entry in entries}
