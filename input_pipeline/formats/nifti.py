"""Reader of NIfTI files: volumes as they are stored, or one frame per slice. A file that is cut off is an error."""

import contextlib
import dataclasses
import gzip
import io
import logging
import warnings
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import Float
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from input_pipeline.formats.raster import check_size
from input_pipeline.formats.stack import Stack, spacing_or_unknown

# What nibabel raises for a file that is cut off, or whose header makes no sense.
DAMAGED = (ImageFileError, HeaderDataError, OSError, EOFError, KeyError, OverflowError, MemoryError, zlib.error)
SLACK = 2**24  # bytes that may precede the voxels, or follow them


@dataclasses.dataclass(frozen=True)
class Voxels:
    """The voxels of a file, as they are stored."""

    values: np.ndarray  # [x y] or [x y z]
    affine: Float[np.ndarray, "4 4"]  # from index (x, y, z) to the file's unit right, front and up
    sizes: tuple[float, ...]  # of a voxel by axis, in the file's unit
    in_mm: float  # the file's unit; millimetres where it names none


def load(path: Path, dimensions: Sequence[int]) -> Voxels:
    """The voxels of a file with as many dimensions as one of these; further ones of length 1 do not count.

    Raises ValueError, in words that follow the name of the file, if it is empty, damaged, cut off, or not of grey
    values. A file of too many voxels is refused by its header, before any is read.
    """
    if not path.stat().st_size:
        raise ValueError("is empty")
    with _quiet():
        try:
            image = _whole(path, dimensions)
            values = np.asanyarray(image.dataobj).reshape(_shape(image, dimensions))
            unit, sizes = image.header.get_xyzt_units()[0], image.header.get_zooms()
            affine = np.asarray(image.affine, float)
        except DAMAGED as error:
            raise ValueError("is damaged, cut off, or not a NIfTI file") from error
    in_mm = {"meter": 1000.0, "micron": 0.001}.get(unit, 1.0)
    return Voxels(values, affine, tuple(float(size) for size in sizes), in_mm)


def read_nifti(path: Path) -> Stack:
    """Rows run along the second axis and columns along the first, as viewers show it.

    Raises ValueError, in words that follow the name of the file, if it is damaged, or neither 2-D nor 3-D.
    """
    voxels = load(path, (2, 3))
    values, is_volume = voxels.values, voxels.values.ndim == 3
    frames = np.moveaxis(values if is_volume else values[..., None], (2, 1, 0), (0, 1, 2))
    column, row = (size * voxels.in_mm for size in voxels.sizes[:2])
    return Stack(_native(frames), is_volume, spacing_or_unknown(row, column), voxels.affine)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences nibabel, which prints about headers that it repairs or refuses: the error is one line."""
    logger = logging.getLogger("nibabel.global")
    before = logger.disabled
    logger.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.disabled = before


def _whole(path: Path, dimensions: Sequence[int]) -> nibabel.Nifti1Image:
    """The image, its bytes read to their end: the checksum of a gzip file is there."""
    header = nibabel.load(path)
    if not isinstance(header, nibabel.Nifti1Image):
        raise ValueError("is not a NIfTI file")
    check_size(_shape(header, dimensions))
    proxy: Any = header.dataobj  # nibabel's ArrayProxy, which its types do not name
    size = int(proxy.offset) + int(np.prod(proxy.shape, dtype=np.int64)) * proxy.dtype.itemsize
    if proxy.offset > SLACK:
        raise EOFError
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        data = file.read(size)
        if len(data) < size or len(file.read(SLACK)) == SLACK:
            raise EOFError
    return type(header).from_stream(io.BytesIO(data))


def _shape(image: nibabel.Nifti1Image, dimensions: Sequence[int]) -> tuple[int, ...]:
    shape = image.shape
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) not in dimensions:
        raise ValueError(f"has {len(shape)} dimensions: expected {' or '.join(map(str, dimensions))}")
    if min(shape) < 1:
        raise ValueError("has no voxels")
    if image.get_data_dtype().kind not in "iuf":
        raise ValueError("has colours or complex values: expected grey ones")
    return shape


def _native(frames: np.ndarray) -> np.ndarray:
    """The frames in a type that OpenCV supports."""
    keep = frames.dtype.kind in "ui" and frames.dtype.itemsize <= 2
    kind = frames.dtype.newbyteorder("=") if keep else np.float32
    return np.ascontiguousarray(frames, kind)
