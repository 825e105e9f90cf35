"""Folders of small made-up heads in each of the three layouts, for tests and demonstrations."""

from pathlib import Path

import nibabel
import numpy as np
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

SHAPE = (20, 24, 18)
SPACING_MM = (1.5, 1.0, 0.8)  # along d, h, w
CONTRAST = {"T1w": (0, 200, 500, 800), "T2w": (0, 900, 600, 300)}  # of background, CSF, GM, WM


def age_folders(folder: str | Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Four scans of three subjects, of which 6m/S003 has no labels; returns the class ids [d h w] by name."""
    folder, rng = Path(folder), np.random.default_rng(seed)
    truth = {}
    for age, subject, axes in (
        ("24m", "S001", "RAS"),
        ("24m", "S002", "LPS"),
        ("18m", "S001", "PIR"),
        ("6m", "S003", "RAS"),
    ):
        labels = head(rng)
        (folder / age / subject).mkdir(parents=True)
        for modality in CONTRAST:
            write_volume(folder / age / subject / f"{modality}.nii.gz", image(labels, modality, rng), axes)
        if age != "6m":
            write_volume(folder / age / subject / "labels.nii.gz", labels, axes)
        truth[f"{age}_{subject}"] = labels if age != "6m" else np.zeros_like(labels)
    return truth


def bids(folder: str | Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Raw images, and labels of values 10, 20 and 30 among the derivatives; returns the class ids [d h w] by name.

    Subject sub-01 has two sessions whose names tell the age, sub-02 one whose age is in a table.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    derived = folder / "derivatives" / "manual"
    truth = {}
    for subject, session in (("sub-01", "ses-24mo"), ("sub-01", "ses-12mo"), ("sub-02", "ses-A")):
        name, labels = f"{subject}_{session}", head(rng)
        for root in (folder, derived):
            (root / subject / session / "anat").mkdir(parents=True)
        for modality in CONTRAST:
            path = folder / subject / session / "anat" / f"{name}_{modality}.nii.gz"
            write_volume(path, image(labels, modality, rng), "RAS")
        write_volume(derived / subject / session / "anat" / f"{name}_dseg.nii.gz", labels * 10, "RAS")
        truth[name] = labels
    table = "index\tname\tcolor\n30\twm\t#0000ff\n10\tcsf\t#ff0000\n20\tgm\t#00ff00\n"
    (derived / "dseg.tsv").write_text(table)
    (folder / "sub-02" / "sub-02_sessions.tsv").write_text("session_id\tage_months\nses-A\t17.8\n")
    return truth


def atlas(folder: str | Path, seed: int = 0) -> dict[str, np.ndarray]:
    """Three volumes as the fetal atlas names them, two of one age; returns the class ids [d h w] by name."""
    folder, rng = Path(folder), np.random.default_rng(seed)
    truth = {}
    for age in ("GA24_notoperated", "GA25_notoperated", "GA25_operated"):
        name, labels = f"fetal_SB_atlas_{age}", head(rng)
        (folder / name).mkdir(parents=True)
        write_volume(folder / name / "srr.nii.gz", image(labels, "T2w", rng), "RAS")
        write_volume(folder / name / "parcellation.nii.gz", labels.astype(np.uint16), "RAS")
        write_volume(folder / name / "mask.nii.gz", (labels > 0).astype(np.uint8), "RAS")
        truth[name] = labels
    return truth


def head(rng: np.random.Generator) -> np.ndarray:
    """Class ids [d h w] of nested ellipsoids, thicker below, in front and on the right."""
    x, y, z = np.ogrid[tuple(slice(-1, 1, n * 1j) for n in SHAPE)]
    cx, cy, cz = np.array([0.15, -0.1, 0.15]) + rng.uniform(-0.1, 0.1, 3)
    labels = (x**2 + y**2 + z**2 < 0.9).astype(np.uint8)
    for radius in (0.7, 0.45):
        labels += (x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2 < radius**2
    return labels


def image(labels: np.ndarray, modality: str, rng: np.random.Generator) -> np.ndarray:
    """Intensities float32 [d h w] of the tissues, with noise inside the head."""
    noise = rng.normal(0, 20, labels.shape)
    return np.where(labels > 0, np.array(CONTRAST[modality])[labels] + noise, 0).astype(np.float32)


def write_volume(path: str | Path, voxels: np.ndarray, axes: str = "RAS") -> None:
    """Writes voxels [d h w] as a file whose array axes grow towards `axes`, e.g. R, A and S."""
    affine = np.zeros((4, 4))
    affine[0, 0], affine[2, 1], affine[1, 2] = -SPACING_MM[0], -SPACING_MM[1], -SPACING_MM[2]  # left, down, back
    affine[:, 3] = (3.0, 5.0, -7.0, 1.0)
    volume = nibabel.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes)))
    nibabel.save(volume.as_reoriented(turn), path)
