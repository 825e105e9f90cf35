"""ECAU-Net, one supervised stage.

Shu et al.: "ECAU-Net: efficient channel attention U-Net for fetal ultrasound cerebellum segmentation" (2022).

    fetal-jax train --config configs/ecau_net.py:dataset=hc18,size=128 --workdir runs/ecau_net

Width 16 by default, for a CPU; `schedule=published` has width 64.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "ecau_net", short={"width": 16})
