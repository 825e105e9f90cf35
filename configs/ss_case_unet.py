"""SS_CASE_UNet: decoder, fine-tuning, pseudo-labels, re-training.

Vatanparast, Fateh, Mashayekhi, Ferdowsi: "SS_CASE_UNet: an attention-enhanced semi-supervised framework for fetal
cerebellum segmentation in ultrasound images" (2025).

    fetal-jax train --config configs/ss_case_unet.py:dataset=hc18,size=128 --workdir runs/hc18

7 minutes on 2 CPU cores, test Dice per image 0.963 (HC18, 160 images; docs/results.md). Published numbers need the
paper's masks and ImageNet weights: `schedule=published,size=256`.
"""

from ml_collections import ConfigDict

from configs.common import STAGE, base, choose, dataset_of, parse_argument

NO_BATCH_NORM = ("swin_unet",)
FAMILY = ("unet", "ca_unet", "se_unet", "case_unet")  # networks on an encoder that can be pretrained
# Epochs of the three stages. "published" counts on an encoder that knows ImageNet and on an accelerator.
# "few_images": 20 labelled ones still make some 300 steps of fine-tuning. `data describe` fits epochs to a dataset.
SCHEDULES = {"short": (2, 24, 10), "few_images": (1, 60, 12), "published": (20, 50, 30)}


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), model, encoder, split, labeller (threshold | naive), schedule.

    `split` is a published one of configs.common.SPLITS, `schedule` one of SCHEDULES; else they are the dataset's own.
    """
    arg = parse_argument(
        argument,
        dataset="fetal_phantom",
        size=256,
        model="case_unet",
        encoder="",
        split="",
        labeller="threshold",
        schedule="",
    )
    data = dataset_of(arg["dataset"])
    epochs = choose("schedule", arg["schedule"] or data.get("schedule", "short"), SCHEDULES)
    model = {"name": arg["model"], "dropout": 0.1} | ({} if arg["model"] in NO_BATCH_NORM else {"bn_momentum": 0.9})
    if arg["model"] in FAMILY:  # pretrained weights: a file of `fetal-jax weights import`
        model |= {"encoder": arg["encoder"] or "efficientnet_b0", "pretrained": ""}
    elif arg["encoder"]:  # refused with the options that the network has
        model |= {"encoder": arg["encoder"]}
    config = base(arg, model)
    # Without a pool there is nothing to re-train on.
    has_pool = config.split.unlabelled != 0
    config.unlabelled_per_batch = config.batch_size // 2 if has_pool else 0
    config.protocol = ("decoder", "fine_tune", "retrain") if has_pool else ("decoder", "fine_tune")
    config.rounds = 1  # of LABEL -> RETRAIN
    config.stages = _stages(epochs, arg["labeller"])
    return config


def _stages(epochs: tuple[int, int, int], labeller: str) -> ConfigDict:
    decoder = {"epochs": epochs[0], "learning_rate": 1e-3, "frozen": ("encoder",), "augment": "comprehensive"}
    fine_tune = {"epochs": epochs[1], "learning_rate": 1e-3, "augment": "comprehensive"}
    retrain = {"epochs": epochs[2], "learning_rate": 5e-4, "augment": "simplified"}
    retrain |= {"pool": "both", "labeller": labeller, "consistency": 1.0}
    return ConfigDict({"decoder": STAGE | decoder, "fine_tune": STAGE | fine_tune, "retrain": STAGE | retrain})
