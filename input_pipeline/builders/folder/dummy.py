"""A small folder with a file of each format, for tests and demonstrations."""

from pathlib import Path

import cv2
import nibabel
import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

from input_pipeline.builders.folder.source import IMAGES, MASKS, UNLABELLED

SHAPE = (48, 64)
VOXEL_MM = (0.8, 0.5, 2.0)  # along x, y, z


def dummy_data(folder: str | Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Writes six labelled files of five subjects and two unlabelled ones; returns the masks [h w] by name of image.

    S01_a: 8-bit PNG. S01_b: JPEG. S02_a: 16-bit TIFF. S03_vol: NIfTI of 3 slices. S04_scan: 12-bit DICOM with a pixel
    spacing. S05_cine: DICOM of 2 frames in colour with an ultrasound region. Unlabelled S06_a: BMP; S07_a: PNG.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    for part in (IMAGES, MASKS, UNLABELLED):
        (folder / part).mkdir(parents=True)
    images, mask_files = folder / IMAGES, folder / MASKS
    masks = np.stack([_disc(rng) for _ in range(9)])
    grey = np.clip((40 + 80 * masks) * rng.rayleigh(0.8, masks.shape), 0, 255).astype(np.uint8)
    cv2.imwrite(str(images / "S01_a.png"), grey[0])
    cv2.imwrite(str(images / "S01_b.jpg"), grey[1])
    cv2.imwrite(str(images / "S02_a.tif"), grey[2].astype(np.uint16) * 100)
    write_nifti(images / "S03_vol.nii.gz", grey[3:6].astype(np.int16) * 10)
    write_dicom(images / "S04_scan.dcm", grey[6].astype(np.uint16) * 16, PixelSpacing=[0.2, 0.3])
    write_dicom(images / "S05_cine.dcm", np.stack([grey[7:9]] * 3, axis=-1), SequenceOfUltrasoundRegions=[_region()])
    for name, mask in (("S01_a.png", masks[0] * 255), ("S01_b.png", masks[1]), ("S02_a.bmp", masks[2] * 255)):
        cv2.imwrite(str(mask_files / name), mask)
    write_nifti(mask_files / "S03_vol.nii", masks[3:6])
    cv2.imwrite(str(mask_files / "S04_scan.png"), masks[6] * 255)
    write_dicom(mask_files / "S05_cine.dcm", masks[7:9])
    cv2.imwrite(str(folder / UNLABELLED / "S06_a.bmp"), grey[0, ::-1])
    cv2.imwrite(str(folder / UNLABELLED / "S07_a.png"), np.stack([grey[1, ::-1]] * 3, axis=-1))
    names = ["S01_a", "S01_b", "S02_a", *(f"S03_vol_{i:03d}" for i in range(3)), "S04_scan"]
    return dict(zip([*names, "S05_cine_000", "S05_cine_001"], masks, strict=True))


def write_nifti(path: Path, frames: np.ndarray, affine: np.ndarray | None = None) -> None:
    """Frames [n h w] become voxels [w h n]."""
    affine = np.diag([*VOXEL_MM, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), affine), path)


def write_dicom(path: Path, pixels: np.ndarray, photometric: str = "MONOCHROME2", **elements) -> None:
    """Pixels [h w], or [n h w] of several frames, or either with RGB last; uint8, or uint16 of 12 bits."""
    dicom = Dataset()
    dicom.file_meta = FileMetaDataset()
    dicom.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dicom.SOPClassUID, dicom.SOPInstanceUID = SecondaryCaptureImageStorage, generate_uid()
    is_colour = pixels.shape[-1] == 3
    dicom.set_pixel_data(pixels, "RGB" if is_colour else photometric, 8 if pixels.dtype == np.uint8 else 12)
    for name, value in elements.items():
        setattr(dicom, name, value)
    dicom.save_as(path, enforce_file_format=True)


def _region() -> Dataset:
    """Of a tissue image with pixels of 0.4 mm."""
    region = Dataset()
    region.RegionSpatialFormat, region.PhysicalUnitsXDirection, region.PhysicalUnitsYDirection = 1, 3, 3
    region.RegionLocationMinX0, region.RegionLocationMinY0 = 0, 0
    region.RegionLocationMaxX1, region.RegionLocationMaxY1 = SHAPE[1] - 1, SHAPE[0] - 1
    region.PhysicalDeltaX, region.PhysicalDeltaY = 0.04, 0.04
    return region


def _disc(rng: np.random.Generator) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    cv2.circle(mask, (int(rng.integers(24, 40)), int(rng.integers(18, 30))), 11, 1, cv2.FILLED)
    return mask
