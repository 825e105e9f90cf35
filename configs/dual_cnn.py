"""Dual CNN, one supervised stage.

Vetriselvi et al. (2025), the smallest network of the comparison in SS_CASE_UNet, Table 2.

    fetal-jax train --config configs/dual_cnn.py:dataset=hc18,size=128 --workdir runs/dual_cnn

Width 8 by default, for a CPU; `schedule=published` has width 16, near the three million parameters of the table.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "dual_cnn", short={"width": 8})
