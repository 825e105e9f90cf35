"""ResU-Net-c (ReU-Net), one supervised stage.

Singh et al. (IEEE Access 2021): a residual U-Net with dilated convolutions for the fetal cerebellum.

    fetal-jax train --config configs/resunet_c.py:dataset=hc18,size=128 --workdir runs/resunet_c

Width 16 by default, for a CPU; `schedule=published` has width 64.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "resunet_c", short={"width": 16})
