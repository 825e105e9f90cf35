"""Attention U-Net, one supervised stage with an imbalance-aware objective.

Oktay et al.: "Attention U-Net: learning where to look for the pancreas" (2018). The trans-thalamic thesis trains it on
brain, CSP and LV with the hybrid loss of its Eq. 3.5. With its split,
`dataset=fetal_head_biometry,split=trans_thalamic`, images that show CSP or LV are drawn three times as often, and
classes are weighted by their inverse frequency.

    fetal-jax train --config configs/attention_unet.py:dataset=hc18,size=128 --workdir runs/attention_unet

7 minutes on 2 CPU cores, test Dice per image 0.961 (HC18, 160 images; docs/results.md). Width 16 by default, for a CPU;
`schedule=published` has width 64.
"""

from ml_collections import ConfigDict

from configs.common import SPLITS, parse_argument
from configs.supervised import supervised
from fetal_jax.core.config import override

RARE = SPLITS["trans_thalamic"]["stratify"]


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), split, schedule (short | few_images | published), width."""
    arg = parse_argument(argument, dataset="fetal_phantom", size=256, split="", schedule="", width=0)
    config = supervised({"model": "attention_unet"} | arg, objective="weighted_hybrid")
    if arg["split"] == "trans_thalamic":
        override(config, "sampling.structures", RARE)
        override(config, "class_weights.rule", "inverse_frequency")
    return config
