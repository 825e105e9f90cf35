"""NIfTI files: a 2-D image, or one frame a slice along the last axis."""

import zlib
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from input_pipeline.formats.stack import Stack, known_spacing
from input_pipeline.images import check_size


def read_nifti(path: Path) -> Stack:
    """Rows run along the second axis and columns along the first, as viewers show it.

    Raises ValueError, in words that follow the name of the file, if it is damaged, or neither 2-D nor 3-D.
    """
    try:
        volume = nibabel.load(path)
        shape = volume.shape
        while len(shape) > 3 and shape[-1] == 1:
            shape = shape[:-1]
        if len(shape) not in (2, 3):
            raise ValueError(f"has {len(shape)} dimensions: expected 2 or 3")
        check_size(shape)
        if volume.get_data_dtype().kind not in "iuf":
            raise ValueError("has colours or complex values: expected grey ones")
        voxels = np.asanyarray(volume.dataobj).reshape(shape)
    except (ImageFileError, HeaderDataError, OSError, EOFError, zlib.error) as error:
        raise ValueError("is damaged, cut off, or no NIfTI") from error
    frames = np.moveaxis(voxels if len(shape) == 3 else voxels[..., None], (2, 1, 0), (0, 1, 2))
    return Stack(_native(frames), len(shape) == 3, _spacing_mm(volume.header), np.asarray(volume.affine, float))


def _spacing_mm(header: nibabel.Nifti1Header) -> tuple[float, float]:
    """Row and column; a header that names no unit means millimetres."""
    in_mm = {"meter": 1000.0, "micron": 0.001}.get(header.get_xyzt_units()[0], 1.0)
    column, row = header.get_zooms()[:2]
    return known_spacing(float(row) * in_mm, float(column) * in_mm)


def _native(frames: np.ndarray) -> np.ndarray:
    """In a type that OpenCV knows."""
    keep = frames.dtype.kind in "ui" and frames.dtype.itemsize <= 2
    kind = frames.dtype.newbyteorder("=") if keep else np.float32
    return np.ascontiguousarray(frames, kind)
