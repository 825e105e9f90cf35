"""ADU-Net on patches of volumes: the segmentation network of the infant cerebellum (Sun et al., MLMI 2020, section 3).

fetal-jax train --config configs/adu_net.py:dataset=fetal_phantom/infant --workdir runs/adu_net

From the paper: 18 labelled volumes, 1,000 patches of 32³ of each and epoch at random places, cross-entropy, SGD with a
learning rate of 0.005, no augmentation: `schedule=published`, for an accelerator. The paper multiplies the rate by 0.1
after each epoch and does not say how many there are; here it falls as half a cosine over 4. `schedule=short` is a small
network that trains for minutes on a CPU, with Adam, on patches half of which are centred on tissue.

short: 8 minutes of CPU time, scores and report included; test Dice per volume 0.930 (CSF 0.941, GM 0.930, WM 0.920;
eight simulated infants of 6 to 24 months, trained on twelve others).
"""

from ml_collections import ConfigDict

from configs.common import STAGE, base, choose, dataset_of, make_split, parse_argument
from fetal_jax.core.config import follows

# Epochs, optimizer and learning rate; patches of a volume and epoch; sizes of the network.
SCHEDULES = {
    "short": {
        "stage": {"epochs": 8, "learning_rate": 3e-3, "augment": "flips"},
        "optimizer": "adam",
        "batch_size": 4,
        "patches": {"per_volume": 8, "foreground": 0.5},
        "model": {"width": 8, "depth": 3, "layers": 2, "growth": 4},
    },
    "published": {
        "stage": {"epochs": 4, "learning_rate": 5e-3, "augment": "none"},
        "optimizer": "sgd",
        "batch_size": 8,
        "patches": {"per_volume": 1000, "foreground": 0.0},
        "model": {},
    },
}
# Volumes of each part, of infants of 24, 18, 12 and 6 months.
PHANTOM = {"labelled": 12, "unlabelled": 0, "validation": 2, "test": 8}


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset (of volumes), size (of a patch's side, in voxels), split, schedule (short | published).

    `split` is a published one of configs.common.SPLITS, else the dataset's own; of the phantom `PHANTOM`.
    """
    arg = parse_argument(argument, dataset="fetal_phantom/infant", size=32, split="", schedule="short")
    own = choose("schedule", arg["schedule"], SCHEDULES)
    config = base(arg, {"name": "adu_net", "dropout": 0.1, "bn_momentum": 0.9} | own["model"])
    config.structures = ()
    config.split = follows(lambda c: make_split(arg["split"], _own_split(c.dataset)))
    config.batch_size = own["batch_size"]
    config.optimizer.name = own["optimizer"]
    config.patches = ConfigDict(own["patches"])
    config.evaluation.blur = 0
    config.stages = [STAGE | {"name": "supervised", "objective": "cross_entropy"} | own["stage"]]
    return config


def _own_split(dataset: str) -> dict:
    return PHANTOM if dataset.startswith("fetal_phantom") else dataset_of(dataset)["split"]
