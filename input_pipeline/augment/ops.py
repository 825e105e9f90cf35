"""Augmentations as text: a list of ops with parameters, which a config can sweep.

    flip(horizontal) | shift_scale_rotate(shift=0.1, scale=0.15, degrees=20) | p(0.3, gamma(0.2)) | geometric

An op is a transform by its name in `OPS`, with the transform's fields as parameters, by position or by name; what is
left out has its default. `a | b` is a and then b, `p(0.3, a)` is a with probability 0.3, and `one_of(a, b | c, none)`
is one of several, drawn uniformly. A name of `published.AUGMENTATIONS` is an op without parameters. The text is read
as a Python expression of this grammar and is never evaluated:

    list := op { "|" op }
    op := NAME [ "(" [ argument { "," argument } ] ")" ]
    argument := [ NAME "=" ] ( NUMBER | WORD | "(" NUMBER "," NUMBER ")" | list )

A new op is a dataclass `(Sample, rng) -> Sample` whose `__post_init__` raises ValueError for a parameter that is out
of range, and a line in one of the tables below.
"""

import ast
import dataclasses
import difflib
import functools
import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np
from jaxtyping import Shaped

from fetal_jax.core.types import UserError
from input_pipeline.augment.compose import Chain, Chance, OneOf, Sample, Transform
from input_pipeline.augment.geometry import Flip, ShiftScaleRotate, Zoom
from input_pipeline.augment.intensity import BrightnessContrast, Clahe, GainOffset, Gamma, MedianBlur, Perturb
from input_pipeline.augment.masks import Morph
from input_pipeline.augment.published import AUGMENTATIONS
from input_pipeline.augment.ultrasound import DepthAttenuation, FanRotation, GainCurve, Shadow, Speckle

PHOTOMETRIC: dict[str, type] = {  # change grey values only
    "brightness_contrast": BrightnessContrast,
    "clahe": Clahe,
    "depth_attenuation": DepthAttenuation,
    "gain_curve": GainCurve,
    "gain_offset": GainOffset,
    "gamma": Gamma,
    "median_blur": MedianBlur,
    "perturb": Perturb,
    "shadow": Shadow,
    "speckle": Speckle,
}
GEOMETRIC: dict[str, type] = {  # move pixels, or change labels
    "fan_rotation": FanRotation,
    "flip": Flip,
    "morph": Morph,
    "shift_scale_rotate": ShiftScaleRotate,
    "zoom": Zoom,
}
COMPOSED: dict[str, type] = {"one_of": OneOf, "p": Chance}  # of other ops; a chain is written with |
OPS = PHOTOMETRIC | GEOMETRIC | COMPOSED
NAME_OF = {op: name for name, op in OPS.items()}
KINDS = {
    float: "a number",
    int: "a whole number",
    str: "a word",
    tuple[float, float]: "a range (low, high)",
    Transform: "an op",
}
IDENTITY = "none"
LONGEST = 200  # letters of a text in a message


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Transform:
    """The transform of a published name or a list of ops.

    Raises UserError, one line that names the op and the cause: an op or parameter that is unknown, a value of the
    wrong type or out of range, or text of another grammar.
    """
    if text in AUGMENTATIONS:
        return AUGMENTATIONS[text]
    if text.isidentifier() and text not in OPS:
        raise UserError(f"augment {text!r} is unknown: {_choose(text, (*AUGMENTATIONS, *OPS))}")
    try:
        tree = ast.parse(text.strip(), mode="eval").body
        return _transform(tree)
    except (SyntaxError, RecursionError, MemoryError) as error:
        where = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise UserError(
            f"augment {_short(text)} is not a list of ops{where}: write ops like flip(horizontal) with | between them"
        ) from error
    except ValueError as error:
        raise UserError(f"augment {_short(text)}: {error}") from error


def format_ops(transform: Transform) -> str:
    """The text of a transform, parameters that differ from their defaults by name: the reverse of `parse`."""
    if isinstance(transform, Chain):
        return " | ".join(format_ops(step) for step in transform.steps) or IDENTITY
    if isinstance(transform, OneOf):
        return f"one_of({', '.join(map(format_ops, transform.options))})"
    if isinstance(transform, Chance):
        return f"p({transform.p!r}, {format_ops(transform.transform)})"
    fields = dataclasses.fields(transform)  # type: ignore[arg-type]  # every op of the tables is a dataclass
    values = {field.name: getattr(transform, field.name) for field in fields}
    given = [f"{field.name}={_word(values[field.name])}" for field in fields if values[field.name] != field.default]
    return NAME_OF[type(transform)] + (f"({', '.join(given)})" if given else "")


def simplified(transform: Transform) -> Transform:
    """The same transform as `parse` makes it: no chain directly in a chain, and none of a single step.

    It draws the same random numbers.
    """
    if isinstance(transform, Chain):
        return _chain(simplified(step) for step in transform.steps)
    if isinstance(transform, OneOf):
        return OneOf(tuple(map(simplified, transform.options)))
    if isinstance(transform, Chance):
        return Chance(transform.p, simplified(transform.transform))
    return transform


def check(text: str) -> None:
    """Raises UserError if the text is neither a published name nor a list of ops."""
    parse(text)


def sample(text: str, rng: np.random.Generator, original: Sample) -> Sample:
    """The original augmented once, all randomness drawn from `rng`. Raises UserError as `parse` does."""
    return parse(text)(original, rng)


def check_strong(text: str) -> None:
    """Raises UserError unless the text is an augmentation for strong views: one that neither moves a pixel nor
    changes a label, since a strong view shares its labels with the weak one."""
    for op in _ops(parse(text)):
        if type(op) not in PHOTOMETRIC.values():
            name = NAME_OF[type(op)]
            raise UserError(
                f"augment {_short(text)} cannot be a strong view, which shares the labels of the weak one: {name} "
                f"moves pixels or changes labels; choose one of {', '.join(PHOTOMETRIC)}"
            )


def strong_view(text: str, rng: np.random.Generator, image: Shaped[np.ndarray, "h w c"]) -> Shaped[np.ndarray, "h w c"]:
    """A strong view of an image, uint8 or float32 in [0, 1], in its own type.

    `perturb` works in the image's own type; other ops see a float32 image rounded to 256 levels. Raises UserError as
    `check_strong` does.
    """
    check_strong(text)
    transform = parse(text)
    if isinstance(transform, Perturb):
        return transform.view(image, rng)
    levels = image if image.dtype == np.uint8 else np.rint(image * np.float32(255)).astype(np.uint8)
    shape = image.shape[:2]
    nothing = Sample(levels, np.zeros(shape, np.uint8), np.zeros(shape, np.float32), np.zeros(2, np.float32))
    view = transform(nothing, rng).image
    return view if image.dtype == np.uint8 else np.divide(view, np.float32(255), dtype=np.float32)


def blurs(text: str) -> set[int]:
    """Kernels of the median blur that images of this augmentation may have been through; 0 is no blur.

    Raises UserError as `parse` does.
    """
    return _blurs(parse(text))


def _blurs(transform: Transform) -> set[int]:
    match transform:
        case MedianBlur(kernel):
            return {kernel}
        case OneOf(options):
            return set[int]().union(*(_blurs(option) for option in options))
        case Chance(_, inner):
            return {0} | _blurs(inner)
        case Chain(steps):
            return {max(path, default=0) for path in itertools.product(*(_blurs(step) for step in steps))}
        case _:
            return {0}


def _ops(transform: Transform) -> Iterable[Transform]:
    """The ops that a transform is made of."""
    match transform:
        case Chain(inner) | OneOf(inner):
            return [op for each in inner for op in _ops(each)]
        case Chance(_, only):
            return _ops(only)
        case _:
            return [transform]


def _chain(steps: Iterable[Transform]) -> Transform:
    flat: list[Transform] = []
    for step in steps:
        flat += step.steps if isinstance(step, Chain) else [step]
    return flat[0] if len(flat) == 1 else Chain(tuple(flat))


def _transform(node: ast.expr) -> Transform:
    """The transform of a list of ops. Raises ValueError in words that follow the text."""
    match node:
        case ast.BinOp(op=ast.BitOr()):
            return _chain(map(_transform, _between_bars(node)))
        case ast.Name(id=name):
            return simplified(AUGMENTATIONS[name]) if name in AUGMENTATIONS else _op(name, [], [])
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            return _op(name, args, keywords)
        case _:
            raise ValueError(f"{ast.unparse(node)} is not an op: write ops like flip(horizontal) with | between them")


def _between_bars(node: ast.expr) -> list[ast.expr]:
    """The operands of a | b | c. A loop, since Python nests a long list deeply on its left."""
    nodes: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        nodes.append(node.right)
        node = node.left
    return [node, *reversed(nodes)]


def _op(name: str, args: list[ast.expr], keywords: list[ast.keyword]) -> Transform:
    if name not in OPS:
        if name in AUGMENTATIONS:
            raise ValueError(f"{name} has no parameters: write {name} without brackets")
        raise ValueError(f"op {name!r} is unknown: {_choose(name, (*AUGMENTATIONS, *OPS))}")
    cls = OPS[name]
    try:
        if cls is OneOf:
            return OneOf(_options(args, keywords))
        return cls(**_arguments(cls, args, keywords))
    except _InnerError:
        raise
    except ValueError as error:
        raise _InnerError(f"{name}: {error}") from error


class _InnerError(ValueError):
    """An error that names its op already."""


def _options(args: list[ast.expr], keywords: list[ast.keyword]) -> tuple[Transform, ...]:
    if keywords:
        raise ValueError(f"{keywords[0].arg or '**'} is not a parameter: name ops, as in one_of(flip, zoom(1.2))")
    return tuple(map(_inner, args))


def _inner(node: ast.expr) -> Transform:
    try:
        return _transform(node)
    except ValueError as error:
        raise _InnerError(str(error)) from error


def _arguments(cls: type, args: list[ast.expr], keywords: list[ast.keyword]) -> dict[str, Any]:
    """The parameters of an op by name, each checked against the type of its field."""
    fields = {field.name: field for field in dataclasses.fields(cls)}
    if len(args) > len(fields):
        raise ValueError(f"{len(args)} parameters are given: it has {', '.join(fields)}")
    given = dict(zip(fields, args, strict=False))
    for keyword in keywords:
        if keyword.arg not in fields:
            raise ValueError(f"{keyword.arg or '**'} is not a parameter: {_choose(keyword.arg or '', fields)}")
        if keyword.arg in given:
            raise ValueError(f"{keyword.arg} is given twice: remove one")
        given[keyword.arg] = keyword.value
    for key, field in fields.items():
        if key not in given and field.default is dataclasses.MISSING:
            raise ValueError(f"{key} is missing: give {KINDS[field.type]}")
    return {key: _value(key, node, fields[key].type) for key, node in given.items()}


def _value(key: str, node: ast.expr, kind: Any) -> Any:
    """The value of a parameter. Raises ValueError if it is not of that kind."""
    if kind is Transform:
        return _inner(node)
    if isinstance(node, ast.Name) and kind is str:
        return node.id
    try:
        value = ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
        value = None
    if kind is float and _is_number(value):
        return float(value)
    if kind in (int, str) and type(value) is kind:
        return value
    if kind == tuple[float, float] and isinstance(value, tuple) and len(value) == 2 and all(map(_is_number, value)):
        return float(value[0]), float(value[1])
    raise ValueError(f"{key} is {ast.unparse(node)}: it must be {KINDS[kind]}")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _choose(word: str, known: Iterable[str]) -> str:
    """The remedy for an unknown word: the nearest ones, or all."""
    words = list(dict.fromkeys(known))
    close = difflib.get_close_matches(word, words, n=2)
    if close:
        return f"did you mean {' or '.join(map(repr, close))}?"
    return f"choose one of {', '.join(words)}"


def _short(text: str) -> str:
    """The text in quotes, for a message of one line."""
    return repr(text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")
