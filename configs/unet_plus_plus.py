"""U-Net++ with deep supervision, one supervised stage.

Zhou et al.: "UNet++: a nested U-Net architecture for medical image segmentation" (DLMIA 2018).

    fetal-jax train --config configs/unet_plus_plus.py:dataset=hc18,size=128 --workdir runs/unet_plus_plus

Width 16 by default, for a CPU; `schedule=published` has width 32.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "unet_plus_plus", short={"width": 16})
