"""Reader of DICOM files, of one frame or more. Tags and units: DICOM PS3.3, C.7.6.3, C.8.5.5 and C.11.1."""

import io
import warnings
import zlib

import numpy as np
from pydicom import Dataset, dcmread
from pydicom.filereader import read_dataset
from pydicom.pixels import apply_color_lut, get_decoder, pixel_array
from pydicom.pixels.utils import get_expected_length, get_nr_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from input_pipeline.formats.raster import check_size
from input_pipeline.formats.stack import Stack, spacing_or_unknown

END_OF_PREAMBLE = 132
MAX_INFLATED = 2**28  # bytes
UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
)
CENTIMETRES, TISSUE_2D = 3, 1  # codes of an ultrasound region's units and format


class TooLargeError(ValueError):
    """The file inflates to too many bytes; its words follow the name of the file."""


def is_dicom(data: bytes) -> bool:
    return data[128:132] == b"DICM"


def read_dicom(data: bytes) -> Stack:
    """All frames, with bright tissue bright, and the size of a pixel from PixelSpacing or an ultrasound region.

    Raises ValueError, in words that follow the name of the file, if it is damaged, has no pixels, or nothing
    installed here decodes them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that are slightly off the standard
        try:
            _check_inflated(data)
            dicom = dcmread(io.BytesIO(data))
            has_pixels = "PixelData" in dicom and {"Rows", "Columns"} <= set(dicom.dir())
            n_frames, rows, columns = get_nr_frames(dicom, warn=False), dicom.get("Rows", 0), dicom.get("Columns", 0)
            shape = (int(n_frames), int(rows), int(columns))
            spacing_mm = _spacing_mm(dicom)
        except TooLargeError:
            raise
        except Exception as error:  # a damaged value raises whatever its own reader raises
            raise ValueError("is damaged or cut off") from error
        if not has_pixels:
            raise ValueError("is a DICOM without pixels")
        check_size(shape)
        _check_length(dicom)
        frames = _decode(dicom, shape)
    return Stack(frames, shape[0] > 1, spacing_mm)


def _check_inflated(data: bytes) -> None:
    """Raises TooLargeError for a deflated file that inflates too far: pydicom inflates it before it reads a size."""
    file = io.BytesIO(data)
    file.seek(END_OF_PREAMBLE)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    if meta.get("TransferSyntaxUID") != DeflatedExplicitVRLittleEndian:
        return
    inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[file.tell() :], MAX_INFLATED + 1)
    if len(inflated) > MAX_INFLATED:
        raise TooLargeError(f"inflates to more than {MAX_INFLATED >> 20} MiB: export it uncompressed")


def _check_length(dicom: Dataset) -> None:
    """Raises ValueError if uncompressed pixels are more than the header says, but for one byte of padding."""
    syntax = dicom.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if syntax not in UNCOMPRESSED:
        return
    try:
        excess = len(dicom.PixelData) - get_expected_length(dicom)
    except Exception as error:  # whatever a damaged value raises
        raise ValueError("is damaged or cut off") from error
    if excess > 1:
        raise ValueError("has more pixels than its header says")


def _decode(dicom: Dataset, shape: tuple[int, int, int]) -> np.ndarray:
    """The frames [n h w] or [n h w 3]. Raises ValueError that names the transfer syntax if nothing here decodes it."""
    syntax = dicom.file_meta.get("TransferSyntaxUID", ImplicitVRLittleEndian)
    if remedy := _missing_decoder(syntax):
        raise ValueError(f"has the transfer syntax {syntax.name} ({syntax}): {remedy}")
    try:
        return _frames(dicom, shape)
    except Exception as error:  # each decoder raises its own
        raise ValueError("is damaged or cut off") from error


def _missing_decoder(syntax: UID) -> str:
    """How to make files of this transfer syntax readable; empty if they are."""
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return "no decoder of it is known: export it uncompressed"
    if decoder.is_available:
        return ""
    # pydicom's words: "pylibjpeg - requires pylibjpeg>=2.0 and pylibjpeg-libjpeg>=2.1"
    packages = (text.partition("requires ")[2].replace("numpy and ", "") for text in decoder.missing_dependencies)
    return f"its decoder is missing: install {', or '.join(packages)}, or export it uncompressed"


def _frames(dicom: Dataset, shape: tuple[int, int, int]) -> np.ndarray:
    pixels = pixel_array(dicom, allow_excess_frames=False)  # colours as RGB
    has_palette = dicom.PhotometricInterpretation == "PALETTE COLOR"
    if dicom.SamplesPerPixel == 1 and not has_palette:
        return _grey(dicom, pixels).reshape(shape)
    colours = (apply_color_lut(pixels, dicom) if has_palette else pixels).reshape(*shape, 3)
    if colours.dtype not in (np.uint8, np.uint16):
        raise ValueError("not colours")
    return np.ascontiguousarray(colours[..., ::-1])  # blue first


def _grey(dicom: Dataset, pixels: np.ndarray) -> np.ndarray:
    slope, intercept = float(dicom.get("RescaleSlope", 1)), float(dicom.get("RescaleIntercept", 0))
    if (slope, intercept) != (1, 0) or pixels.dtype.itemsize > 2:
        pixels = pixels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if dicom.PhotometricInterpretation != "MONOCHROME1":
        return pixels
    if pixels.dtype.kind == "u":
        return (2**dicom.BitsStored - 1 - pixels.astype(np.int64)).clip(0).astype(pixels.dtype)
    return -pixels.astype(np.float32)


def _spacing_mm(dicom: Dataset) -> tuple[float, float]:
    """Row and column; (0, 0) if the file does not say."""
    shared = dicom.get("SharedFunctionalGroupsSequence") or [Dataset()]
    measures = shared[0].get("PixelMeasuresSequence") or [Dataset()]
    for group in (dicom, measures[0]):
        if group.get("PixelSpacing"):
            row, column = group.PixelSpacing
            return spacing_or_unknown(float(row), float(column))
    regions = [region for region in dicom.get("SequenceOfUltrasoundRegions") or () if _is_calibrated(region)]
    if not regions:
        return 0.0, 0.0
    largest = max(regions, key=_area)
    return spacing_or_unknown(10 * abs(float(largest.PhysicalDeltaY)), 10 * abs(float(largest.PhysicalDeltaX)))


def _is_calibrated(region: Dataset) -> bool:
    units = region.get("PhysicalUnitsXDirection"), region.get("PhysicalUnitsYDirection")
    is_tissue = region.get("RegionSpatialFormat", TISSUE_2D) == TISSUE_2D
    return (
        is_tissue and units == (CENTIMETRES, CENTIMETRES) and {"PhysicalDeltaX", "PhysicalDeltaY"} <= set(region.dir())
    )


def _area(region: Dataset) -> int:
    width = region.get("RegionLocationMaxX1", 0) - region.get("RegionLocationMinX0", 0)
    return width * (region.get("RegionLocationMaxY1", 0) - region.get("RegionLocationMinY0", 0))
