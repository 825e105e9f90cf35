"""What configs share: reading their argument, and the published splits."""

import difflib
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fetal_jax.types import UserError

# The published splits, all dealt by subject, whatever the source did. -1 is all images that the other parts leave.
SPLITS = {
    # SS_CASE_UNet: 400 trans-cerebellar images.
    "ss_case_unet": {"labelled": 150, "unlabelled": 200, "validation": 10, "test": 40},
    # Trans-thalamic thesis, 3.2: 70/15/15 percent, stratified by the rare structures.
    "trans_thalamic": {
        "unit": "percent",
        "labelled": 70,
        "unlabelled": 0,
        "validation": 15,
        "test": 15,
        "stratify": ("csp", "lv"),
    },
    # Infant cerebellum: 18 labelled volumes of 24 months, 5 of each age to test, all younger ones unlabelled.
    "infant_cerebellum": {
        "labelled": 18,
        "unlabelled": -1,
        "validation": 0,
        "test": 5,
        "labelled_groups": ("24m",),
    },
    # Attention-ResUNet on HC18: 200 images are tested, the others trained on; 40 of those choose the best network.
    "attention_resunet": {"labelled": -1, "unlabelled": 0, "validation": 40, "test": 200},
}
OWN = {"seed": 0, "unit": "images", "stratify": (), "folds": 0, "fold": 0, "labelled_groups": ()}


def parse_argument(argument: str, **defaults: Any) -> dict[str, Any]:
    """`"dataset=hc18,size=128"` over typed defaults. Raises UserError for an unknown key or a value of another type."""
    values = dict(defaults)
    for pair in _pairs(argument, defaults):
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


def _pairs(argument: str, defaults: Mapping[str, Any]) -> list[str]:
    """The `key=value` of an argument; options of a dataset, `dataset=NAME:key=value,key=value`, stay with it."""
    pairs: list[str] = []
    for pair in filter(None, argument.split(",")):
        if pairs and pairs[-1].startswith("dataset=") and ":" in pairs[-1] and pair.partition("=")[0] not in defaults:
            pairs[-1] += f",{pair}"
        else:
            pairs.append(pair)
    return pairs


def choose(key: str, value: str, table: Mapping[str, Any]) -> Any:
    """The entry of a table. Raises UserError naming the argument if it has none of that name."""
    if value not in table:
        raise UserError(f"config argument {key}={value} is unknown: choose one of {', '.join(table)}")
    return table[value]


def make_split(name: str, own: Mapping[str, Any]) -> ConfigDict:
    """The settings of a split: the published one of that name, or a dataset's own where none is named."""
    return ConfigDict(OWN | dict(choose("split", name, SPLITS) if name else own))
