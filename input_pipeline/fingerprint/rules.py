"""Rules of size: network input, batch, epochs, patch. Each gives settings and the reason in words."""

import dataclasses
import math
from typing import Any

from input_pipeline.fingerprint.dataset_fingerprint import Class, Fingerprint

SIZES = (64, 512)  # least and most pixels per side of a network's input
STEP = 32  # the encoder halves an image five times
# Pixels that the smallest structure should keep. A disc of 1000 px whose outline is off by half a pixel everywhere has
# Dice 2 r² / (r² + (r + ½)²) = 0.972; experts who outline fetal heads agree to 0.974: the grid does not limit a score.
KEPT = 1000
BATCHES = (2, 8)  # the least is nnU-Net's; the most is the batch size of the published protocol here
SHARE_OF_DATA = 0.05  # of the training images in one batch, at most; nnU-Net
STEADY = 4  # that share does not lower the batch below it: BatchNorm over fewer images is mostly noise
TRAINED = 0.7  # of the labelled images
EPOCHS = {"fine_tune": 24, "retrain": 10}  # the config's own
STEPS = {"fine_tune": 600, "retrain": 400}  # with fewer a network at random weights finds little
# Memory of a training step of case_unet in float32, as XLA plans it: 2.6 kB per pixel of the batch, at 128 and 256 px.
# Unlabelled images, half of a batch, come in two views.
BYTES_PER_PIXEL, VIEWS = 2700, 1.5
PATCH, PATCH_STEP = 32, 16  # the infant cerebellum's 32 voxels per side; a network that halves four times
BYTES_PER_VOXEL = 2000  # nnU-Net: two patches of 128³ in 8 to 11 GB


@dataclasses.dataclass(frozen=True)
class PlannedSettings:
    """Values of some config keys (dotted), and the reason for them."""

    values: dict[str, Any]
    reason: str


def input_size(found: Fingerprint, memory_gb: float) -> PlannedSettings:
    """The smallest side, in steps of 32 px, at which the smallest structure keeps KEPT pixels in 95 % of its images.

    At least 64; at most 512, the median image's longest side, and the size at which memory holds two images.
    """
    smallest = smallest_structure(found)
    needed = max(SIZES[0], STEP * math.ceil(math.sqrt(KEPT / _least_share(smallest)) / STEP))
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
        return PlannedSettings({"size": size}, f"the smallest structure, {kept}; {enough}")
    return PlannedSettings(
        {"size": size}, f"{limit}; here the smallest structure, {kept}, {KEPT:,} would take size {needed}"
    )


def smallest_structure(found: Fingerprint) -> Class:
    """The structure that fills the least of a network's input, at its 5th percentile."""
    return min(found.structures, key=_least_share)


def _least_share(structure: Class) -> float:
    """The 5th percentile of its share of a network's input."""
    assert structure.of_square is not None, "a structure is in a labelled image"
    return structure.of_square.p5


def pixels_kept(found: Fingerprint, size: int) -> float:
    """Pixels of the smallest structure, at its 5th percentile, in an input of `size` on a side."""
    return _least_share(smallest_structure(found)) * size**2


def batch(found: Fingerprint, size: int, memory_gb: float) -> PlannedSettings:
    """The largest power of two that memory and the number of images allow, from 2 to 8."""
    images = TRAINED * found.n_labelled + found.n_pool
    limits = {
        f"{memory_gb:g} GB hold no more at {size} px": _images_in_memory(size, memory_gb),
        f"more would be over 5 % of the {images:,.0f} training images": max(STEADY, SHARE_OF_DATA * images),
        f"{BATCHES[1]} images are the most: with smaller batches the same arithmetic makes more steps": BATCHES[1],
    }
    limit, most = min(limits.items(), key=lambda item: item[1])
    number = BATCHES[0]
    while 2 * number <= most:
        number *= 2
    return PlannedSettings({"batch_size": number, "unlabelled_per_batch": number // 2 if found.n_pool else 0}, limit)


def epochs(found: Fingerprint, batch_size: int, stages: tuple[str, ...]) -> PlannedSettings:
    """Epochs for a fixed number of steps, and at least the config's own: few images are seen more often."""
    labelled = TRAINED * found.n_labelled
    images = {"fine_tune": labelled, "retrain": labelled + found.n_pool}
    wanted = {
        stage: max(least, math.ceil(STEPS[stage] * batch_size / images[stage])) for stage, least in EPOCHS.items()
    }
    values = {f"stages.{stage}.epochs": wanted[stage] for stage in stages if stage in wanted}
    reason = (
        f"{STEPS['fine_tune']} steps of fine-tuning and {STEPS['retrain']} of re-training, or the config's own epochs"
    )
    return PlannedSettings(values, reason)


def patch(found: Fingerprint, memory_gb: float) -> PlannedSettings:
    """Voxels of a patch: 32 per side, more where the smallest structure is larger, at most an axis or the memory.

    The smallest structure is taken as a ball of the 95th percentile of its volume.
    """
    volumes = {each.name: each.extent_px.p95 for each in found.structures if each.extent_px}
    smallest = min(volumes, key=volumes.__getitem__)
    across = 2 * (3 * volumes[smallest] / (4 * math.pi)) ** (1 / 3)
    room = PATCH_STEP * int((memory_gb * 1e9 / (BATCHES[0] * BYTES_PER_VOXEL)) ** (1 / 3) / PATCH_STEP)
    side = max(PATCH, min(PATCH_STEP * math.ceil(across / PATCH_STEP), room))
    axes = tuple(min(side, max(PATCH_STEP, PATCH_STEP * int(a.median / PATCH_STEP))) for a in found.sizes.axes)
    holds = f"{smallest}, the smallest structure, is {across:.0f} voxels across as a ball"
    return PlannedSettings({"patch": axes}, f"{PATCH} per side, or more to hold the smallest structure whole: {holds}")


def _images_in_memory(size: int, memory_gb: float) -> float:
    return memory_gb * 1e9 / (VIEWS * BYTES_PER_PIXEL * size**2)


def _side_in_memory(memory_gb: float) -> int:
    """The largest side at which the smallest batch fits, in steps."""
    side = math.sqrt(memory_gb * 1e9 / (BATCHES[0] * VIEWS * BYTES_PER_PIXEL))
    return max(SIZES[0], STEP * int(side / STEP))
