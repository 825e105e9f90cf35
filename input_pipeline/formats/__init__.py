"""Readers of image files: PNG, JPEG, BMP, TIFF, NIfTI, DICOM."""

from input_pipeline.formats.files import KIND_OF, SUFFIXES, read, stem
from input_pipeline.formats.stack import Stack, to_8_bits

__all__ = ["KIND_OF", "SUFFIXES", "Stack", "read", "stem", "to_8_bits"]
