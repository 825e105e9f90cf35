"""NIfTI volumes in one orientation, read whole or refused, and label maps as files in that of another.

Arrays are [d h w]: d runs from the subject's right to its left, h from the head to the feet, and w from front to back.
So a slice array[i] is sagittal, upright, and looks to the left.
"""

import dataclasses
import gzip
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8, UInt16
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from input_pipeline.formats.nifti import load

AXES = ("L", "I", "P")  # where the three indices grow to: left, inferior, posterior
PERCENTILES = (0.1, 99.9)  # black and white of an image
SAME_MM = 1e-3


@dataclasses.dataclass(frozen=True)
class Volume:
    """The voxels of a file in the orientation of this module."""

    voxels: Shaped[np.ndarray, "d h w"]
    affine: Float[np.ndarray, "4 4"]  # from array index (d, h, w) to millimetres right, front and up

    @property
    def spacing_mm(self) -> Float32[np.ndarray, "3"]:
        """By array axis."""
        return nibabel.affines.voxel_sizes(self.affine).astype(np.float32)

    def lies_as(self, other: "Volume") -> bool:
        """Whether both have the same voxels in space."""
        same = self.voxels.shape == other.voxels.shape
        return same and bool(np.allclose(self.affine, other.affine, rtol=0, atol=SAME_MM))


def read_volume(path: Path) -> Volume:
    """Raises ValueError, in words that follow the name of the file, if it is damaged, cut off or no volume of finite
    grey values; one of too many voxels is refused by its header alone."""
    found = load(path, (3,))
    if not np.isfinite(found.values).all():
        raise ValueError("has values that are not finite (NaN or infinity)")
    if not np.isfinite(found.affine).all() or np.isnan(io_orientation(found.affine)).any():
        raise ValueError("has an affine that places its voxels nowhere in space")
    turned = _turned(nibabel.Nifti1Image(found.values, found.affine, dtype=found.values.dtype))
    return Volume(np.ascontiguousarray(turned.dataobj), np.diag([found.in_mm] * 3 + [1]) @ turned.affine)


def _turned(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(AXES)))


def to_16_bits(voxels: Shaped[np.ndarray, "d h w"]) -> UInt16[np.ndarray, "d h w"]:
    """Intensities from the 0.1 percentile (0) to the 99.9 percentile (65535) of the voxels that are not 0, clipped.

    Raises ValueError, in words that follow the name of the file, if these are all equal.
    """
    inside = voxels[voxels != 0]
    low, high = np.percentile(inside, PERCENTILES) if inside.size else (0.0, 0.0)
    if high <= low:
        raise ValueError("shows nothing: its voxels are all equal")
    scaled = (voxels.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.rint(65535 * np.clip(scaled, 0, 1)).astype(np.uint16)


def labels_file(labels: UInt8[np.ndarray, "d h w"], volume: Volume, like: Path) -> bytes:
    """Class ids of `volume`, which was read from `like`, as a .nii.gz with the axes, place and unit of that file."""
    stored = nibabel.load(like)
    turn = ornt_transform(axcodes2ornt(AXES), io_orientation(stored.affine))
    turned = nibabel.Nifti1Image(labels, volume.affine, dtype=np.uint8).as_reoriented(turn)
    image = nibabel.Nifti1Image(np.asarray(turned.dataobj), stored.affine, dtype=np.uint8)
    image.header.set_xyzt_units(stored.header.get_xyzt_units()[0])
    return gzip.compress(image.to_bytes(), mtime=0)
