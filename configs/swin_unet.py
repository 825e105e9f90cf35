"""Swin U-Net, one supervised stage, from random weights.

Cao et al.: "Swin-Unet: Unet-like pure transformer for medical image segmentation" (2021).

    fetal-jax train --config configs/swin_unet.py:dataset=hc18,size=128 --workdir runs/swin_unet

Width 48 by default, for a CPU; `schedule=published` has width 96.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "swin_unet", short={"width": 48}, common={})
