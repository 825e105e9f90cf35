"""SS_CASE_UNet on the phantom, small enough for a laptop: every stage, every file that a run leaves.

make quickstart     (= fetal-jax train --config configs/quickstart.py --workdir runs/quickstart)

4 to 10 minutes on 2 CPU cores, test Dice per image 0.953 (simulated cerebella, 60 images; docs/results.md).
"""

from typing import Any

from ml_collections import ConfigDict

from configs import ss_case_unet
from configs.common import parse_argument
from fetal_jax.core.config import follows

EPOCHS = {"decoder": 1, "fine_tune": 24, "retrain": 10}


def get_config(argument: str = "") -> ConfigDict:
    """Argument: size (network pixels)."""
    size = parse_argument(argument, size=96)["size"]
    config = ss_case_unet.get_config(f"dataset=fetal_phantom,size={size}")
    config.batch_size = 4  # more steps for the same arithmetic
    config.evaluation.blur = 0
    published = config.stages
    config.stages = follows(lambda c: [_small(stage) for stage in published.compute(c)])
    return config


def _small(stage: dict[str, Any]) -> dict[str, Any]:
    # At this size the published kernels are as large as what is to be found, in images and in masks.
    return stage | {"epochs": EPOCHS[stage["name"]], "augment": "geometric"}
