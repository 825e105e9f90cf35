"""What is different about a run on volumes: how patches are drawn, and which settings only images have."""

from collections.abc import Mapping, Sequence
from typing import Any

from fetal_jax import config as configs
from fetal_jax.training.stages import Stage
from fetal_jax.types import UserError
from input_pipeline.patches import PatchStream, Volumes

MIRRORED = {"none": False, "flips": True}  # the augmentations of volumes: whether half of the patches are mirrored


def check_kind(dataset: str, dims: int, settings: Mapping[str, Any]) -> None:
    """Raises UserError for volumes without settings of patches, and for images with them."""
    if dims == 3 and "patches" not in settings:
        raise UserError(f"dataset {dataset} has volumes and this config is for images: take configs/adu_net.py")
    if dims == 2 and "patches" in settings:
        raise UserError(f"dataset {dataset} has images and this config draws patches of volumes: take another one")


def read_patches(s: configs.Settings) -> dict[str, Any]:
    """The settings of how patches are drawn. Raises UserError naming the one that is wrong."""
    patches = s.patches.take("per_volume", "foreground")
    if patches["per_volume"] < 1:
        raise UserError(f"patches.per_volume is {patches['per_volume']}: it must be at least 1")
    if not 0 <= patches["foreground"] <= 1:
        raise UserError(f"patches.foreground is {patches['foreground']}: it must be a share, 0 to 1")
    return patches


def check_settings(stages: Sequence[Stage], *, blur: int, intensity: str, oversampled: Sequence[str]) -> None:
    """Raises UserError for a setting that only images have."""
    allowed: dict[str, tuple[Any, Sequence[Any]]] = {
        "evaluation.blur": (blur, (0,)),
        "intensity": (intensity, ("unit",)),
        "sampling.structures": (tuple(oversampled), ((),)),
    }
    for stage in stages:
        allowed[f"stages.{stage.name}.augment"] = stage.augment, tuple(MIRRORED)
        allowed[f"stages.{stage.name}.labeller"] = stage.labeller, ("",)
        allowed[f"stages.{stage.name}.pool"] = stage.pool, ("labelled",)
        allowed[f"stages.{stage.name}.consistency"] = stage.consistency, (0.0,)
    for key, (value, choices) in allowed.items():
        if value not in choices:
            raise UserError(f"{key} is {value!r}: on volumes it can be {' or '.join(map(repr, choices))} only")


def patch_stream(
    volumes: Volumes, stage: Stage, patches: Mapping[str, Any], *, size: int, batch_size: int, seed: int
) -> PatchStream:
    """What a stage draws from: cubic patches of `size` voxels a side."""
    return PatchStream(
        volumes,
        patch=(size,) * 3,
        batch_size=batch_size,
        seed=seed,
        patches_per_volume=patches["per_volume"],
        flip=MIRRORED[stage.augment],
        foreground=patches["foreground"],
    )
