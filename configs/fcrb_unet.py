"""FCRB U-Net, one supervised stage.

Shu et al.: "FCRB U-Net: a novel fully connected residual block U-Net for fetal cerebellum ultrasound image
segmentation" (2022).

    fetal-jax train --config configs/fcrb_unet.py:dataset=hc18,size=128 --workdir runs/fcrb_unet

Width 16 by default, for a CPU; `schedule=published` has width 64.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "fcrb_unet", short={"width": 16})
