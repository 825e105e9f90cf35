"""Attention-ResUNet, one supervised stage.

"Attention-ResUNet for automated fetal head segmentation" (arXiv 2604.18148), on HC18.

    fetal-jax train --config configs/attention_resunet.py:dataset=hc18,size=128 --workdir runs/attention_resunet

Width 16 by default, for a CPU; `schedule=published` has width 64.
Its split is `split=attention_resunet`.
"""

from ml_collections import ConfigDict

from configs.common import supervised


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    return supervised(argument, "attention_resunet", short={"width": 16})
