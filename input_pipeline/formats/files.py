"""Reads an image file of any format, which its content tells: PNG, JPEG, BMP, TIFF, NIfTI, DICOM."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from input_pipeline.formats.dicom import is_dicom, read_dicom
from input_pipeline.formats.nifti import read_nifti
from input_pipeline.formats.raster import JPEG, PNG, TIFF, decode
from input_pipeline.formats.stack import Stack

SUFFIXES = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg"),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "NIfTI": (".nii", ".nii.gz"),
    "DICOM": (".dcm", ".dicom", ".ima"),
}
KIND_OF = {suffix: kind for kind, suffixes in SUFFIXES.items() for suffix in suffixes}


def stem(path: Path) -> str:
    """The name without the suffix of a format. A DICOM file may have none, and other dots belong to the name."""
    suffix = _suffix(path)
    return path.name[: len(path.name) - len(suffix)] if suffix else path.name


def read(path: Path, *, indices: bool = False) -> Stack:
    """The frames of a file; with `indices`, a palette image gives the numbers of its colours instead of them.

    Raises ValueError, in words that follow the name of the file, if it cannot be read or is not what its name says.
    """
    data = path.read_bytes()
    if not data:
        raise ValueError("is empty")
    kind = _kind(path, data)
    if kind == "DICOM":
        return read_dicom(data)
    if kind == "NIfTI":
        return read_nifti(path)
    pixels = decode(data)
    if indices and kind != "JPEG":
        pixels = _palette_indices(data, pixels)
    return Stack(pixels[None])


def _suffix(path: Path) -> str:
    return next((suffix for suffix in KIND_OF if path.name.lower().endswith(suffix)), "")


def _kind(path: Path, data: bytes) -> str:
    named, found = KIND_OF.get(_suffix(path)), _kind_of(data)
    if named is None and found == "DICOM":
        return found
    if named is None:
        raise ValueError(f"is of an unknown kind: expected {', '.join(SUFFIXES)}")
    if found not in (None, named):
        raise ValueError(f"is named like {named} but is {found}")
    if found is None and named != "NIfTI":
        raise ValueError(f"is not a {named} file")
    return named


def _kind_of(data: bytes) -> str | None:
    """The format by the first bytes; None for a NIfTI, which its reader recognises."""
    if is_dicom(data):
        return "DICOM"
    starts: dict[str, bytes | tuple[bytes, ...]] = {"PNG": PNG, "JPEG": JPEG, "BMP": b"BM", "TIFF": TIFF}
    return next((kind for kind, start in starts.items() if data.startswith(start)), None)


def _palette_indices(data: bytes, pixels: np.ndarray) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image) if image.mode == "P" else pixels
    except OSError:  # a TIFF that Pillow does not open has no palette
        return pixels
