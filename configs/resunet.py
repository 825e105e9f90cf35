"""Residual U-Net, one supervised stage.

Zhang, Liu, Wang: "Road extraction by deep residual U-Net" (2018); a baseline of Attention-ResUNet on HC18.

    fetal-jax train --config configs/resunet.py:dataset=hc18,size=128 --workdir runs/resunet

Width 16 by default, for a CPU; `schedule=published` has width 64.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "resunet", short={"width": 16})
