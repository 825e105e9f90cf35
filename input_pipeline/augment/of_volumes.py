"""The augmentations of volumes, whose patches are drawn by `input_pipeline.patch_stream`."""

from fetal_jax.core.types import UserError
from input_pipeline.augment import ops

MIRRORS = {"none": False, "flips": True}  # by name: whether half of the patches are mirrored from right to left


def check(name: str, dims: int) -> None:
    """Raises UserError if a dataset of that many dimensions cannot have the augmentation.

    Images (2) can have any published name or list of ops, volumes (3) those of `MIRRORS`.
    """
    if dims == 2:
        ops.check(name)
    elif name not in MIRRORS:
        raise UserError(f"augment {name!r} is for images: on volumes it can be {' or '.join(map(repr, MIRRORS))} only")
