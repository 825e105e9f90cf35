"""NIfTI volumes reoriented to one orientation, and label maps written in the orientation of another file.

Arrays are [d h w]: d runs from the subject's right to its left, h from the head to the feet, and w from front to back.
So a slice array[i] is sagittal, upright, and faces left.
"""

import dataclasses
import gzip
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float, Float32, Shaped, UInt8, UInt16
from nibabel.affines import voxel_sizes
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from input_pipeline.formats.nifti import load

AXES = ("L", "I", "P")  # directions of the three axes: left, inferior, posterior
PERCENTILES = (0.1, 99.9)  # that become black and white
SAME_MM = 1e-3


@dataclasses.dataclass(frozen=True)
class Volume:
    """The voxels of a file in the orientation of this module."""

    voxels: Shaped[np.ndarray, "d h w"]
    affine: Float[np.ndarray, "4 4"]  # from array index (d, h, w) to millimetres right, front and up

    @property
    def spacing_mm(self) -> Float32[np.ndarray, "3"]:
        """Voxel size by array axis."""
        return voxel_sizes(self.affine).astype(np.float32)

    def lies_as(self, other: "Volume") -> bool:
        """Whether both have the same voxels in space."""
        same = self.voxels.shape == other.voxels.shape
        return same and bool(np.allclose(self.affine, other.affine, rtol=0, atol=SAME_MM))


def read_volume(path: Path) -> Volume:
    """Reads a NIfTI volume and reorients it.

    Raises ValueError, in words that follow the name of the file, if it is damaged, cut off or not a volume of finite
    grey values. A file of too many voxels is refused by its header, before any is read.
    """
    found = load(path, (3,))
    if not np.isfinite(found.values).all():
        raise ValueError("has values that are not finite (NaN or infinity)")
    if not np.isfinite(found.affine).all() or np.isnan(io_orientation(found.affine)).any():
        raise ValueError("has an affine that is not finite or not invertible")
    turned = _turned(nibabel.Nifti1Image(found.values, found.affine, dtype=found.values.dtype))
    return Volume(np.ascontiguousarray(turned.dataobj), np.diag([found.in_mm] * 3 + [1]) @ turned.affine)


def _turned(image: nibabel.Nifti1Image) -> nibabel.Nifti1Image:
    return image.as_reoriented(ornt_transform(io_orientation(image.affine), axcodes2ornt(AXES)))


def to_16_bits(voxels: Shaped[np.ndarray, "d h w"]) -> UInt16[np.ndarray, "d h w"]:
    """Intensities scaled from percentile 0.1 (0) to 99.9 (65535) of the voxels that are not 0, and clipped.

    Raises ValueError, in words that follow the name of the file, if these are all equal.
    """
    inside = voxels[voxels != 0]
    low, high = np.percentile(inside, PERCENTILES) if inside.size else (0.0, 0.0)
    if high <= low:
        raise ValueError("is empty: its voxels are all equal")
    scaled = (voxels.astype(np.float32) - np.float32(low)) / np.float32(high - low)
    return np.rint(65535 * np.clip(scaled, 0, 1)).astype(np.uint16)


def labels_file(labels: UInt8[np.ndarray, "d h w"], volume: Volume, like: Path) -> bytes:
    """Class ids of `volume`, which was read from `like`, as .nii.gz with the axes, affine and unit of that file."""
    stored = nibabel.load(like)
    assert isinstance(stored, nibabel.Nifti1Image), "read_volume has read it"
    turn = ornt_transform(axcodes2ornt(AXES), io_orientation(stored.affine))
    turned = nibabel.Nifti1Image(labels, volume.affine, dtype=np.uint8).as_reoriented(turn)
    image = nibabel.Nifti1Image(np.asarray(turned.dataobj), stored.affine, dtype=np.uint8)
    image.header.set_xyzt_units(stored.header.get_xyzt_units()[0])
    return gzip.compress(image.to_bytes(), mtime=0)
