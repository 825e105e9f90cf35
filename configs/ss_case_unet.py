"""SS_CASE_UNet: decoder, fine-tuning, pseudo-labels, re-training.

Vatanparast, Fateh, Mashayekhi, Ferdowsi: "SS_CASE_UNet: an attention-enhanced semi-supervised framework for fetal
cerebellum segmentation in ultrasound images" (2025).

    fetal-jax train --config configs/ss_case_unet.py:dataset=hc18,size=128 --workdir runs/hc18

7 to 15 minutes on 2 CPU cores, test Dice per image 0.965 (HC18, 160 images; docs/results.md). Published numbers need
the paper's masks and encoder: `encoder=efficientnet_b0,schedule=published,size=256`.
"""

from typing import Any

from ml_collections import ConfigDict

from configs.common import STAGE, base, choose, parse_argument, schedule_of
from fetal_jax.core.config import follows

NO_BATCH_NORM = ("swin_unet",)  # networks without the option bn_momentum: configs know no network
FAMILY = ("unet", "ca_unet", "se_unet", "case_unet")  # networks on an encoder that can be pretrained
# Epochs of the three stages. "published" counts on an encoder that knows ImageNet and on an accelerator.
# "few_images": 20 labelled ones still make some 300 steps of fine-tuning. `data describe` fits epochs to a dataset.
SCHEDULES = {"short": (2, 24, 10), "few_images": (1, 60, 12), "published": (20, 50, 30)}


def get_config(argument: str = "") -> ConfigDict:
    """Arguments: dataset, size (network pixels), model, encoder, split, labeller (threshold | naive), schedule, rounds.

    The paper's encoder is `efficientnet_b0`, whose ImageNet weights `fetal-jax weights fetch` brings; the default is
    its Lite flavour, whose weights are installed with this program.

    `split` is a published one of configs.common.SPLITS, `schedule` one of SCHEDULES; else they are the dataset's own.
    `rounds` is how often the images without labels are labelled, and the network trained again on both.
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
        rounds=1,
    )
    model = {"name": arg["model"], "dropout": 0.1} | ({} if arg["model"] in NO_BATCH_NORM else {"bn_momentum": 0.9})
    if arg["model"] in FAMILY:  # "imagenet", a file of `fetal-jax weights import`, or "" for random weights
        model |= {"encoder": arg["encoder"] or "efficientnet_lite0", "pretrained": "imagenet"}
    elif arg["encoder"]:  # refused with the options that the network has
        model |= {"encoder": arg["encoder"]}
    config = base(arg, model)
    config.unlabelled_per_batch = follows(lambda c: c.batch_size // 2 if c.split.unlabelled else 0)
    config.stages = follows(lambda c: _stages(c, arg))
    return config


def _stages(config: ConfigDict, arg: dict[str, Any]) -> list[dict[str, Any]]:
    """Decoder, fine-tuning, and re-training in rounds; without unlabelled images there is nothing to re-train on."""
    decoder, fine_tune, retrain = choose("schedule", schedule_of(config, arg["schedule"]), SCHEDULES)
    supervised = {"learning_rate": 1e-3, "augment": "comprehensive"}
    stages = [
        supervised | {"name": "decoder", "epochs": decoder, "frozen": ("encoder",)},
        supervised | {"name": "fine_tune", "epochs": fine_tune},
    ]
    # Of percent, the unlabelled images without a subject that is labelled join in even where 0 are asked for.
    for number in range(1, arg["rounds"] + 1) if config.split.unlabelled or config.unlabelled_per_batch else ():
        own = {"name": "retrain" if number == 1 else f"retrain_{number}", "epochs": retrain, "learning_rate": 5e-4}
        data = {"data": ("labelled", "unlabelled"), "pseudo_labeller": arg["labeller"]}
        stages.append(own | data | {"augment": "simplified", "method": {"name": "self_training", "consistency": 1.0}})
    return [STAGE | stage for stage in stages]
