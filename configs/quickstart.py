"""SS_CASE_UNet on the phantom, small enough for a laptop: every stage, every file that a run leaves.

make quickstart     (= fetal-jax train --config configs/quickstart.py --workdir runs/quickstart)
"""

from ml_collections import ConfigDict

from configs import ss_case_unet
from configs.common import parse_argument


def get_config(argument: str = "") -> ConfigDict:
    """Argument: size (network pixels)."""
    size = parse_argument(argument, size=96)["size"]
    config = ss_case_unet.get_config(f"dataset=fetal_phantom,size={size}")
    config.stages.decoder.epochs = 1
    config.stages.fine_tune.epochs = 30
    config.stages.retrain.epochs = 10
    return config
