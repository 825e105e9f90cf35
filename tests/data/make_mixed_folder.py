"""Writes `mixed_folder`: phantom images as a user might keep them, in every format that `folder` reads.

    python tests/data/make_mixed_folder.py tests/data/mixed_folder

Eleven labelled subjects and five without masks, four frames each: a file a frame, or all four in a NIfTI volume or a
DICOM film. Masks are 0 and 255.
"""

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from input_pipeline.builders.fetal_phantom import anatomy
from input_pipeline.builders.fetal_phantom.builder import PhantomConfig, frame_of
from input_pipeline.builders.folder.dummy import write_dicom, write_nifti
from input_pipeline.builders.folder.source import IMAGES, MASKS, UNLABELLED

N_LABELLED, N_UNLABELLED, N_FRAMES = 11, 5, 4
CONFIG = PhantomConfig(name="mixed", n_subjects=16, frames_per_subject=N_FRAMES, height=96, width=128, seed=7)
CEREBELLUM = anatomy.CLASSES.index("cerebellum")


def main(folder: Path) -> None:
    for part in (IMAGES, MASKS, UNLABELLED):
        (folder / part).mkdir(parents=True)
    for subject in range(N_LABELLED + N_UNLABELLED):
        frames = [frame_of(CONFIG, subject, anatomy.TRANS_CEREBELLUM, i) for i in range(N_FRAMES)]
        images = np.stack([frame["image"] for frame in frames])
        masks = np.stack([(frame["labels"] == CEREBELLUM).astype(np.uint8) * 255 for frame in frames])
        labelled = subject < N_LABELLED
        write_images(folder / (IMAGES if labelled else UNLABELLED), f"P{subject:02d}", subject, images, frames[0])
        if labelled:
            write_masks(folder / MASKS, f"P{subject:02d}", subject, masks)
    (folder / "dataset.json").write_text(json.dumps({"classes": ["background", "cerebellum"]}) + "\n")


def write_images(folder: Path, name: str, subject: int, images: np.ndarray, frame: dict) -> None:
    """A NIfTI of 16 bits, a DICOM with its pixel spacing, or four files of different kinds."""
    row_mm, column_mm = (float(size) for size in frame["spacing_mm"])
    if subject % 8 == 3:
        affine = np.diag([column_mm, row_mm, 1.0, 1.0])
        write_nifti(folder / f"{name}_cine.nii.gz", images.astype(np.int16) * 100, affine)
    elif subject % 8 == 6:
        write_dicom(folder / f"{name}_cine.dcm", images, PixelSpacing=[row_mm, column_mm])
    else:
        for i, image in enumerate(images):
            write_image(folder, f"{name}_{i}", (subject + i) % 8, image, (row_mm, column_mm))


def write_image(folder: Path, stem: str, kind: int, image: np.ndarray, spacing_mm: tuple[float, float]) -> None:
    grey = Image.fromarray(image)
    if kind == 0:
        grey.save(folder / f"{stem}.png")
    elif kind == 1:
        grey.convert("RGB").save(folder / f"{stem}.jpg", quality=95)
    elif kind == 2:
        cv2.imwrite(str(folder / f"{stem}.tif"), image.astype(np.uint16) * 257)
    elif kind == 3:
        grey.convert("RGBA").save(folder / f"{stem}.png")
    elif kind == 4:
        grey.save(folder / f"{stem}.bmp")
    elif kind == 5:
        grey.convert("P").save(folder / f"{stem}.png")
    elif kind == 6:
        grey.save(folder / f"{stem}.tiff", compression="tiff_lzw")
    else:
        write_dicom(folder / f"{stem}.dcm", image.astype(np.uint16) * 16, PixelSpacing=list(spacing_mm))


def write_masks(folder: Path, name: str, subject: int, masks: np.ndarray) -> None:
    if subject % 8 == 3:
        spacing = frame_of(CONFIG, subject, anatomy.TRANS_CEREBELLUM, 0)["spacing_mm"]
        write_nifti(folder / f"{name}_cine.nii.gz", masks, np.diag([spacing[1], spacing[0], 1.0, 1.0]))
    elif subject % 8 == 6:
        write_dicom(folder / f"{name}_cine.dcm", masks)
    else:
        for i, mask in enumerate(masks):
            cv2.imwrite(str(folder / f"{name}_{i}.{'bmp' if i == 2 else 'png'}"), mask)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
