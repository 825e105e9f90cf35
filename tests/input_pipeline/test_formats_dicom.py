"""DICOM files whose pixels are more than their header says."""

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian

from input_pipeline.builders.folder.dummy import write_dicom
from input_pipeline.formats import dicom, read

GREY = np.arange(48 * 64, dtype=np.uint16).astype(np.uint8).reshape(48, 64)


def deflate(path, pixels=None):
    file = dcmread(path)
    file.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    file.PixelData = file.PixelData if pixels is None else pixels
    file.save_as(path)


@pytest.fixture
def path(tmp_path):
    write_dicom(tmp_path / "a.dcm", GREY)
    return tmp_path / "a.dcm"


def test_a_deflated_file_is_read(path):
    deflate(path)
    np.testing.assert_array_equal(read(path).frames[0], GREY)


def test_a_deflated_file_of_too_many_bytes_is_refused_before_it_is_inflated(path, monkeypatch):
    monkeypatch.setattr(dicom, "MAX_INFLATED", 2**20)
    monkeypatch.setattr(dicom, "dcmread", lambda file: pytest.fail("was inflated whole"))
    deflate(path, bytes(2**21))
    with pytest.raises(ValueError, match=r"^inflates to more than 1 MiB: export it uncompressed$"):
        read(path)


@pytest.mark.parametrize("is_deflated", [True, False])
def test_more_pixels_than_the_header_tells_are_refused(is_deflated, path):
    pixels = GREY.tobytes() * 2
    if is_deflated:
        deflate(path, pixels)
    else:
        file = dcmread(path)
        file.PixelData = pixels
        file.save_as(path)
    with pytest.raises(ValueError, match=r"^has more pixels than its header says$"):
        read(path)
