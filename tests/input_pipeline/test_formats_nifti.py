"""NIfTI files that are not whole, or whose headers make no sense, are refused quietly."""

import nibabel
import numpy as np
import pytest

from input_pipeline.formats import read


@pytest.fixture
def write(tmp_path):
    """The path of a good file of noise, which does not compress."""

    def write(suffix):
        voxels = np.random.default_rng(0).integers(0, 30000, (12, 10, 5)).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / f"a{suffix}")
        return tmp_path / f"a{suffix}"

    return write


def test_a_file_cut_by_8_bytes_is_refused(write):
    path = write(".nii.gz")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match=r"^is damaged, cut off, or not a NIfTI file$"):
        read(path)


@pytest.mark.parametrize("place", [0.4, 0.6, 0.9])
def test_a_flipped_bit_in_gzip_is_refused(place, write):
    path = write(".nii.gz")
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 16
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^is damaged, cut off, or not a NIfTI file$"):
        read(path)


def test_a_unit_that_is_none_is_refused(write):
    path = write(".nii")
    data = bytearray(path.read_bytes())
    data[123] = 7
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"^is damaged, cut off, or not a NIfTI file$"):
        read(path)


@pytest.mark.parametrize("seed", range(4))
def test_harmed_headers_are_read_or_refused_in_one_line_and_nothing_is_printed(seed, write, read_or_refused, capfd):
    read_or_refused(write(".nii"), seed, times=50, first=0, last=348)
    assert capfd.readouterr() == ("", "")
