"""Shared by all configs: arguments, datasets, published splits, and the settings that every run has."""

import difflib
import re
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fetal_jax.core.config import follows
from fetal_jax.core.types import UserError

# The published splits, all dealt by subject, whatever the source did. -1 is all images that the other parts leave.
SPLITS: dict[str, dict[str, Any]] = {
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
# Percent of the labelled images; masks of the unlabelled part are hidden, and images without any join it.
OF_THE_LABELLED = {"unit": "percent", "labelled": 40, "unlabelled": 30, "validation": 10, "test": 20}
# Images of each part, and what is segmented. HC18: heads. The phantom: the cerebellum, as in the paper.
DATASETS: dict[str, dict[str, Any]] = {
    "fetal_phantom": {
        "structures": ("cerebellum",),
        "split": {"labelled": 120, "unlabelled": 150, "validation": 24, "test": 60},
    },
    "hc18": {
        "structures": ("head",),
        "split": {"labelled": 150, "unlabelled": 200, "validation": 40, "test": 160},
    },
    # The paper's own numbers; masks of the cerebellum are the user's.
    "fetal_planes": {
        "structures": ("cerebellum",),
        "split": {"labelled": 150, "unlabelled": 200, "validation": 10, "test": 40},
    },
    "fetal_head_biometry": {
        "structures": (),
        "split": OF_THE_LABELLED | {"stratify": ("csp",)},  # every variant has it
    },
    # Volumes, for configs/adu_net.py.
    "infant_mri": {
        "structures": (),
        "split": {"unit": "percent", "labelled": 70, "unlabelled": 0, "validation": 10, "test": 20},
    },
    # All classes of the user's own images.
    "folder": {
        "structures": (),
        "split": OF_THE_LABELLED,
        "schedule": "few_images",
        "batch_size": 4,
    },
}
# A supervised stage of all layers; a config says what is different about its own.
STAGE = {
    "frozen": (),
    "method": {"name": "supervised"},
    "data": ("labelled",),
    "pseudo_labeller": "",
    "strong": "perturb",
    "objective": "bce_dice",
    "loss_weights": {},
    "init": "",
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


def make_split(name: str, own: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a split: the published one of that name, or a dataset's own where none is named."""
    return OWN | dict(choose("split", name, SPLITS) if name else own)


def dataset_of(name: str) -> dict[str, Any]:
    """The entry of DATASETS for `NAME`, `NAME/config` or `NAME:key=value`."""
    return choose("dataset", re.split("[/:]", name)[0], DATASETS)


def base(arg: Mapping[str, Any], model: Mapping[str, Any]) -> ConfigDict:
    """All settings but the stages, for the arguments dataset, size and split."""
    config = ConfigDict(type_safe=False)
    config.seed = 0
    config.dataset = arg["dataset"]
    dataset_of(config.dataset)  # refused here, with the argument's name
    config.structures = follows(lambda c: dataset_of(c.dataset)["structures"])
    config.split = follows(lambda c: make_split(arg["split"], dataset_of(c.dataset)["split"]))
    # Images that show one of the structures are drawn `factor` times as often (3 for CSP and LV in the thesis).
    config.sampling = follows(lambda c: {"structures": (), "factor": 3})
    config.class_weights = follows(lambda c: {"rule": "none", "smoothing": 0.01})  # none | inverse_frequency
    config.size = arg["size"]
    config.intensity = "unit"  # of the network's input: unit, [0, 1], or symmetric, [-1, 1]
    config.batch_size = follows(lambda c: dataset_of(c.dataset).get("batch_size", 8))
    config.unlabelled_per_batch = 0
    config.model = ConfigDict(dict(model), type_safe=False)
    config.precision = "float32"  # of the computation: float32 or bfloat16; parameters are always float32
    config.remat = False  # True: less memory in training, about a third more arithmetic
    config.optimizer = ConfigDict({"name": "adam", "weight_decay": 1e-4, "clip": 1.0})
    config.pseudo_labels = ConfigDict({"threshold": 0.95, "minimum_pixels": 10, "uncertain": "ignore"})
    config.evaluation = ConfigDict({"batch_size": 8, "blur": 5, "tta": "none"})
    config.validate_every = 2
    config.log_every = 1
    return config


def schedule_of(config: ConfigDict, named: str, default: str = "short") -> str:
    """The schedule that is named, else the dataset's own, else the default."""
    return named or dataset_of(config.dataset).get("schedule", default)
