"""Rules of size: what a network sees, and how many of it at a time. Each gives values and its reason in words."""

import dataclasses
import math
from typing import Any

from input_pipeline.fingerprint.description import Class, Description

SIZES = (64, 512)  # the least and the most pixels on a side of a network's input
STEP = 32  # the encoder halves an image five times
# Pixels that the smallest structure is to keep. A disc of 1000 px whose outline is off by half a pixel everywhere has
# Dice 2 r² / (r² + (r + ½)²) = 0.972; experts who outline fetal heads agree to 0.974: the grid does not limit a score.
KEPT = 1000
BATCHES = (2, 8)  # the least is nnU-Net's; the most is what the published protocol is run with here
SHARE_OF_DATA = 0.05  # of the training images in one batch, at most; nnU-Net
STEADY = 4  # which that share does not lower: BatchNorm over fewer images is mostly noise
TRAINED = 0.7  # of the labelled images
EPOCHS = {"fine_tune": 24, "retrain": 10}  # the config's own
STEPS = {"fine_tune": 600, "retrain": 400}  # with fewer a network at random weights finds little
# Memory of a training step of case_unet in float32, as XLA plans it: 2.6 kB a pixel of the batch, at 128 and at 256 px.
# Unlabelled images, half of a batch, come in two views.
BYTES_A_PIXEL, VIEWS = 2700, 1.5
PATCH, PATCH_STEP = 32, 16  # the infant cerebellum's 32 voxels a side; a network that halves four times
BYTES_A_VOXEL = 2000  # nnU-Net: two patches of 128³ in 8 to 11 GB


@dataclasses.dataclass(frozen=True)
class Choice:
    """Values of some config keys, dotted, and the rule that led to them."""

    values: dict[str, Any]
    reason: str


def input_size(found: Description, memory_gb: float) -> Choice:
    """The smallest side, in steps of 32 px, at which the smallest structure keeps KEPT pixels in 95 % of its images.

    Not under 64 nor over 512, nor over the median image's longest side, nor over what two images have memory for.
    """
    smallest = smallest_structure(found)
    needed = max(SIZES[0], STEP * math.ceil(math.sqrt(KEPT / smallest.of_square.p5) / STEP))
    native = max(SIZES[0], STEP * int(found.sizes.longest.median / STEP))
    limits = {
        f"the median image's longest side is {found.sizes.longest.median:,.0f} px": native,
        f"{SIZES[1]} is the most": SIZES[1],
        f"{memory_gb:g} GB hold no batch of {BATCHES[0]} that is larger": _side_in_memory(memory_gb),
    }
    limit, most = min(limits.items(), key=lambda item: item[1])
    size = min(needed, most)
    kept = f"{smallest.name}, has {pixels_kept(found, size):,.0f} px or more in 95 % of its images"
    if needed <= most:
        enough = f"{KEPT:,} px are enough: an outline half a pixel off everywhere then costs 0.03 Dice"
        return Choice({"size": size}, f"the smallest structure, {kept}; {enough}")
    return Choice({"size": size}, f"{limit}; here the smallest structure, {kept}, {KEPT:,} would take size {needed}")


def smallest_structure(found: Description) -> Class:
    """The structure that fills the least of a network's input, at its 5th percentile."""
    return min(found.structures, key=lambda each: each.of_square.p5)


def pixels_kept(found: Description, size: int) -> float:
    """Pixels of the smallest structure, at its 5th percentile, in an input of `size` on a side."""
    return smallest_structure(found).of_square.p5 * size**2


def batch(found: Description, size: int, memory_gb: float) -> Choice:
    """The largest power of two that memory and the number of images allow, from 2 to 8."""
    images = TRAINED * found.n_labelled + found.n_pool
    limits = {
        f"{memory_gb:g} GB hold no more at {size} px": _images_in_memory(size, memory_gb),
        f"more were over 5 % of the {images:,.0f} training images": max(STEADY, SHARE_OF_DATA * images),
        f"{BATCHES[1]} images are the most: with smaller batches the same arithmetic makes more steps": BATCHES[1],
    }
    limit, most = min(limits.items(), key=lambda item: item[1])
    number = BATCHES[0]
    while 2 * number <= most:
        number *= 2
    return Choice({"batch_size": number, "unlabelled_per_batch": number // 2 if found.n_pool else 0}, limit)


def epochs(found: Description, batch_size: int, stages: tuple[str, ...]) -> Choice:
    """As many as make a fixed number of steps, and no fewer than the config has: few images are seen more often."""
    labelled = TRAINED * found.n_labelled
    images = {"fine_tune": labelled, "retrain": labelled + found.n_pool}
    wanted = {
        stage: max(least, math.ceil(STEPS[stage] * batch_size / images[stage])) for stage, least in EPOCHS.items()
    }
    values = {f"stages.{stage}.epochs": wanted[stage] for stage in stages if stage in wanted}
    reason = (
        f"{STEPS['fine_tune']} steps of fine-tuning and {STEPS['retrain']} of re-training, or the config's own epochs"
    )
    return Choice(values, reason)


def patch(found: Description, memory_gb: float) -> Choice:
    """Voxels of a patch: 32 a side, more where the smallest structure is larger, fewer where an axis or memory ends.

    The smallest structure is taken as a ball of its 95th percentile.
    """
    smallest = min(found.structures, key=lambda each: each.extent_px.p95)
    across = 2 * (3 * smallest.extent_px.p95 / (4 * math.pi)) ** (1 / 3)
    room = PATCH_STEP * int((memory_gb * 1e9 / (BATCHES[0] * BYTES_A_VOXEL)) ** (1 / 3) / PATCH_STEP)
    side = max(PATCH, min(PATCH_STEP * math.ceil(across / PATCH_STEP), room))
    axes = tuple(min(side, max(PATCH_STEP, PATCH_STEP * int(a.median / PATCH_STEP))) for a in found.sizes.axes)
    holds = f"{smallest.name}, the smallest structure, is {across:.0f} voxels across as a ball"
    return Choice({"patch": axes}, f"{PATCH} a side, or more to hold the smallest structure whole: {holds}")


def _images_in_memory(size: int, memory_gb: float) -> float:
    return memory_gb * 1e9 / (VIEWS * BYTES_A_PIXEL * size**2)


def _side_in_memory(memory_gb: float) -> int:
    """The largest side of which the smallest batch fits, in steps."""
    side = math.sqrt(memory_gb * 1e9 / (BATCHES[0] * VIEWS * BYTES_A_PIXEL))
    return max(SIZES[0], STEP * int(side / STEP))
