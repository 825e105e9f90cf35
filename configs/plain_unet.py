"""U-Net, one supervised stage.

Ronneberger, Fischer, Brox: "U-Net: convolutional networks for biomedical image segmentation" (MICCAI 2015).

    fetal-jax train --config configs/plain_unet.py:dataset=hc18,size=128 --workdir runs/plain_unet

Width 16 by default, for a CPU; `schedule=published` has width 64.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "plain_unet", short={"width": 16})
