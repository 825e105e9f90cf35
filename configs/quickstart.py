"""SS_CASE_UNet on the phantom, small enough for a laptop: every stage, every file that a run leaves.

make quickstart     (= fetal-jax train --config configs/quickstart.py --workdir runs/quickstart)

4 minutes on 2 CPU cores, test Dice per image 0.925 (simulated cerebella, 60 images; docs/results.md).
"""

from ml_collections import ConfigDict

from configs import ss_case_unet
from configs.common import parse_argument
from fetal_jax.core.config import override


def get_config(argument: str = "") -> ConfigDict:
    """Argument: size (network pixels)."""
    size = parse_argument(argument, size=96)["size"]
    config = ss_case_unet.get_config(f"dataset=fetal_phantom,size={size}")
    config.batch_size = 4  # more steps for the same arithmetic
    config.evaluation.blur = 0
    for stage, epochs in (("decoder", 1), ("fine_tune", 24), ("retrain", 10)):
        override(config, f"stages.{stage}.epochs", epochs)
        # At this size the published kernels are as large as what is to be found, in images and in masks.
        override(config, f"stages.{stage}.augment", "geometric")
    return config
