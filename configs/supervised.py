"""One supervised stage of any network.

    fetal-jax train --config configs/supervised.py:model=swin_unet,dataset=hc18,size=128 --workdir runs/swin_unet

`model` is the name of a network in fetal_jax/models (docs/models.md has the papers); small by default, for a CPU.
`schedule=published` has the published size and the schedule of the trans-thalamic thesis (002, 3.6), for an
accelerator. The Attention-ResUNet's own split is `split=attention_resunet`. Volumes: configs/adu_net.py.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.common import STAGE, base, choose, parse_argument, schedule_of
from fetal_jax.core.config import follows

# Epochs, learning rate, and whether networks have their published size.
SCHEDULES = {"short": (30, 1e-3, False), "few_images": (60, 1e-3, False), "published": (100, 1e-4, True)}
RATES = {"dropout": 0.1, "bn_momentum": 0.9}
# What makes a network small enough for a CPU. A network that is not here has the options of its own file.
SMALL: dict[str, dict[str, Any]] = {
    "plain_unet": RATES | {"width": 16},
    "resunet": RATES | {"width": 16},
    "attention_unet": RATES | {"width": 16},
    "attention_resunet": RATES | {"width": 16},
    "unet_plus_plus": RATES | {"width": 16},
    "dual_cnn": RATES | {"width": 8},
    "ecau_net": RATES | {"width": 16},
    "fcrb_unet": RATES | {"width": 16},
    "resunet_c": RATES | {"width": 16},
    "swin_unet": {"width": 48},
}


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: model, dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(_parsed(argument))


def supervised(arg: dict[str, Any], objective: str = "bce_dice") -> ConfigDict:
    """One supervised stage for these arguments."""
    config = base(arg, {})
    config.model = follows(lambda c: _model(arg, choose("schedule", schedule_of(c, arg["schedule"]), SCHEDULES)[2]))

    def stages(c: ConfigDict) -> list[dict[str, Any]]:
        epochs, learning_rate, _ = choose("schedule", schedule_of(c, arg["schedule"]), SCHEDULES)
        own = {"name": "supervised", "epochs": epochs, "learning_rate": learning_rate, "objective": objective}
        return [STAGE | own | {"augment": "comprehensive"}]

    config.stages = follows(stages)
    return config


def _model(arg: dict[str, Any], published: bool) -> dict[str, Any]:
    small = SMALL.get(arg["model"], {})
    options = {key: value for key, value in small.items() if not published or key in RATES}
    return {"name": arg["model"]} | options | ({"width": arg["width"]} if arg["width"] else {})


def sweep(argument: str = "") -> list[dict[str, Any]]:
    """Learning rates around the schedule's, each with three seeds."""
    arg = _parsed(argument)
    _, own, _ = choose("schedule", schedule_of(ConfigDict(arg), arg["schedule"]), SCHEDULES)
    rates = (round(0.3 * own, 9), own, round(3 * own, 9))
    return [{"stages.supervised.learning_rate": rate, "seed": seed} for rate in rates for seed in (0, 1, 2)]


def _parsed(argument: str) -> dict[str, Any]:
    return parse_argument(
        argument, model="plain_unet", dataset="fetal_phantom", size=256, split="", schedule="", width=0
    )
