"""SS_CASE_UNet: decoder, fine-tuning, pseudo-labels, re-training.

Vatanparast, Fateh, Mashayekhi, Ferdowsi: "SS_CASE_UNet: an attention-enhanced semi-supervised framework for fetal
cerebellum segmentation in ultrasound images" (2025).

    fetal-jax train --config configs/ss_case_unet.py:dataset=hc18,size=128 --workdir runs/hc18

7 minutes on 2 CPU cores, test Dice per image 0.963 (HC18, 160 images; docs/results.md). Published numbers need the
paper's masks and ImageNet weights: `schedule=published,size=256`.
"""

import re

from ml_collections import ConfigDict

from configs.common import choose, make_split, parse_argument

# Percent of the labelled images; masks of the unlabelled part are hidden, and images without any join it.
OF_THE_LABELLED = {"unit": "percent", "labelled": 40, "unlabelled": 30, "validation": 10, "test": 20}
# Images of each part, and what is segmented. HC18: heads. The phantom: the cerebellum, as in the paper.
DATASETS = {
    "fetal_phantom": {
        "structures": ("cerebellum",),
        "split": {"labelled": 120, "unlabelled": 150, "validation": 24, "test": 60},
    },
    "hc18": {
        "structures": ("head",),
        "split": {"labelled": 150, "unlabelled": 200, "validation": 40, "test": 160},
    },
    # The paper's own numbers; masks of the cerebellum are the user's.
    "fetal_planes": {
        "structures": ("cerebellum",),
        "split": {"labelled": 150, "unlabelled": 200, "validation": 10, "test": 40},
    },
    "fetal_head_biometry": {
        "structures": (),
        "split": OF_THE_LABELLED | {"stratify": ("csp",)},  # every variant has it
    },
    # All classes of the user's own images.
    "folder": {
        "structures": (),
        "split": OF_THE_LABELLED,
        "schedule": "few_images",
        "batch_size": 4,
    },
}
# Epochs of the three stages. "published" counts on an encoder that knows ImageNet and on an accelerator.
# "few_images": 20 labelled ones still make some 300 steps of fine-tuning. `data describe` fits epochs to a dataset.
SCHEDULES = {"short": (2, 24, 10), "few_images": (1, 60, 12), "published": (20, 50, 30)}


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), model, split, labeller (threshold | naive), schedule.

    `split` is a published one of configs.common.SPLITS, `schedule` one of SCHEDULES; else they are the dataset's own.
    """
    arg = parse_argument(
        argument, dataset="fetal_phantom", size=256, model="case_unet", split="", labeller="threshold", schedule=""
    )
    data = choose("dataset", re.split("[/:]", arg["dataset"])[0], DATASETS)
    epochs = choose("schedule", arg["schedule"] or data.get("schedule", "short"), SCHEDULES)
    config = ConfigDict()
    config.seed = 0
    config.dataset = arg["dataset"]
    config.structures = data["structures"]
    config.split = make_split(arg["split"], data["split"])
    # Images that show one of the structures are drawn `factor` times as often (3 for CSP and LV in the thesis).
    config.sampling = ConfigDict({"structures": (), "factor": 3})
    config.class_weights = ConfigDict({"rule": "none", "smoothing": 0.01})  # none | inverse_frequency
    config.size = arg["size"]
    config.intensity = "unit"  # of the network's input: unit, [0, 1], or symmetric, [-1, 1]
    config.batch_size = data.get("batch_size", 8)
    # Without a pool there is nothing to re-train on.
    has_pool = config.split.unlabelled != 0
    config.unlabelled_per_batch = config.batch_size // 2 if has_pool else 0
    config.model = ConfigDict({"name": arg["model"], "dropout": 0.1, "bn_momentum": 0.9})
    config.optimizer = ConfigDict({"name": "adam", "weight_decay": 1e-4, "clip": 1.0})
    config.protocol = ("decoder", "fine_tune", "retrain") if has_pool else ("decoder", "fine_tune")
    config.rounds = 1  # of LABEL -> RETRAIN
    config.stages = _stages(epochs, arg["labeller"])
    config.labelling = ConfigDict({"threshold": 0.95, "minimum_pixels": 10, "uncertain": "ignore"})
    config.evaluation = ConfigDict({"batch_size": 8, "blur": 5, "tta": False})
    config.validate_every = 2
    config.log_every = 1
    return config


def _stages(epochs: tuple[int, int, int], labeller: str) -> ConfigDict:
    common = {"frozen": (), "objective": "bce_dice", "consistency": 0.0, "labeller": "", "pool": "labelled"}
    decoder = {"epochs": epochs[0], "learning_rate": 1e-3, "frozen": ("encoder",), "augment": "comprehensive"}
    fine_tune = {"epochs": epochs[1], "learning_rate": 1e-3, "augment": "comprehensive"}
    retrain = {"epochs": epochs[2], "learning_rate": 5e-4, "augment": "simplified"}
    retrain |= {"pool": "both", "labeller": labeller, "consistency": 1.0}
    return ConfigDict({"decoder": common | decoder, "fine_tune": common | fine_tune, "retrain": common | retrain})
