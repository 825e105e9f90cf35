"""Writes a small synthetic folder in the layout of FETAL_PLANES_DB, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from input_pipeline.builders.fetal_planes.source import FOLDER, MASKS, TABLE

SHAPE = (66, 96)
HEADER = "Image_name;Patient_num;Plane;Brain_plane;Operator;US_Machine;Train "
PLANES = ("Trans-cerebellum", "Trans-thalamic", "Trans-ventricular", "Other")


def dummy_data(folder: str | Path, n_patients: int = 4, n_masks: int = 2, seed: int = 0) -> dict[str, np.ndarray]:
    """Writes one image per patient and plane of the brain, and one of a femur; returns the masks [h w] by name.

    The first `n_masks` patients have a mask of 0 and 255 for their trans-cerebellar image.
    """
    folder, rng, rows, masks = Path(folder), np.random.default_rng(seed), [HEADER], {}
    for part in (FOLDER, MASKS):
        (folder / part).mkdir(parents=True)
    for patient in range(1, n_patients + 1):
        for i, plane in enumerate(PLANES, 1):
            name = f"Patient{patient:05d}_Plane3_{i}_of_{len(PLANES)}"
            mask = _cerebellum(rng)
            _write_image(folder / FOLDER / f"{name}.png", mask, rng)
            rows.append(f"{name};{patient};Fetal brain;{plane};Op. {patient % 3};Voluson E6;1")
            if plane == "Trans-cerebellum" and patient <= n_masks:
                masks[name] = mask
                cv2.imwrite(str(folder / MASKS / f"{name}.png"), mask * 255)
    _write_image(folder / FOLDER / "Patient00001_Plane4_1_of_1.png", _cerebellum(rng), rng)
    rows.append("Patient00001_Plane4_1_of_1;1;Fetal femur;Not A Brain;Other;Aloka;0")
    (folder / TABLE).write_text("\n".join(rows) + "\n")
    return masks


def _cerebellum(rng: np.random.Generator) -> np.ndarray:
    """Two lobes that touch."""
    mask, row, column = np.zeros(SHAPE, np.uint8), int(rng.integers(30, 40)), int(rng.integers(40, 56))
    for side in (-9, 9):
        cv2.ellipse(mask, (column + side, row), (11, 7), 0, 0, 360, 1, cv2.FILLED)
    return mask


def _write_image(path: Path, mask: np.ndarray, rng: np.random.Generator) -> None:
    """Speckle in three equal channels, as published."""
    grey = np.clip((40 + 80 * mask) * rng.rayleigh(0.8, SHAPE), 0, 255).astype(np.uint8)
    cv2.imwrite(str(path), np.stack([grey] * 3, axis=-1))
