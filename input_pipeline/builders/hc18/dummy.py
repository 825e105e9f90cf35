"""Writes a small synthetic folder in the layout of HC18, for tests and demonstrations."""

import csv
from pathlib import Path

import cv2
import numpy as np

from fetal_jax.anatomy.ellipse import Ellipse
from input_pipeline.builders.hc18.source import COLUMNS, OFFICIAL_TEST, SUFFIX, TRAINING

SHAPE = (108, 160)


def dummy_data(folder: str | Path, n_subjects: int = 6, seed: int = 0) -> dict[str, Ellipse]:
    """Writes a training set of `n_subjects` in the published layout and returns the true ellipse by image name.

    Every third subject has two frames (000_HC, 000_2HC); the head of subject 001 leaves the frame on the left.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    (folder / TRAINING.folder).mkdir(parents=True)
    ellipses: dict[str, Ellipse] = {}
    rows: list[tuple] = [COLUMNS]
    for subject in range(n_subjects):
        for frame in ("HC", "2HC") if subject % 3 == 0 else ("HC",):
            name, pixel_size_mm = f"{subject:03d}_{frame}", _pixel_size_mm(rng)
            ellipse = _head(rng, centre_column=25.0 if subject == 1 else 80.0)
            _write_image(folder / TRAINING.folder / f"{name}.png", ellipse, rng)
            _write_annotation(folder / TRAINING.folder / f"{name}{SUFFIX}", ellipse)
            ellipses[name] = ellipse
            rows.append((f"{name}.png", pixel_size_mm, round(ellipse.circumference() * pixel_size_mm, 2)))
    _write_table(folder / TRAINING.table, rows)
    return ellipses


def dummy_official_test(folder: str | Path, n_images: int = 3, seed: int = 1) -> dict[str, Ellipse]:
    """Writes an official test set, which has no annotations, and returns the true ellipse by image name.

    The folder may hold a training set already.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    (folder / OFFICIAL_TEST.folder).mkdir(parents=True)
    ellipses: dict[str, Ellipse] = {}
    rows: list[tuple] = [COLUMNS[:2]]
    for number in range(n_images):
        name, ellipse = f"{number:03d}_HC", _head(rng, centre_column=80.0)
        _write_image(folder / OFFICIAL_TEST.folder / f"{name}.png", ellipse, rng)
        ellipses[name] = ellipse
        rows.append((f"{name}.png", _pixel_size_mm(rng)))
    _write_table(folder / OFFICIAL_TEST.table, rows)
    return ellipses


def _pixel_size_mm(rng: np.random.Generator) -> float:
    return round(rng.uniform(0.5, 1.5), 6)


def _head(rng: np.random.Generator, centre_column: float) -> Ellipse:
    """A head of the usual cephalic index, somewhere near the middle row."""
    centre = (54.0 + rng.uniform(-6, 6), centre_column + rng.uniform(-5, 5))
    major = rng.uniform(38, 44)
    return Ellipse(centre, (major, major * rng.uniform(0.74, 0.84)), rng.uniform(-0.3, 0.3))


def _write_image(path: Path, ellipse: Ellipse, rng: np.random.Generator) -> None:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    brightness = np.where(ellipse.radius(rows, columns) < 1, 60, 25)
    brightness = brightness + 140 * np.exp(-((_pixels_off(ellipse) / 2) ** 2))
    cv2.imwrite(str(path), np.clip(brightness * rng.rayleigh(0.8, SHAPE), 0, 255).astype(np.uint8))


def _write_annotation(path: Path, ellipse: Ellipse) -> None:
    cv2.imwrite(str(path), np.where(_pixels_off(ellipse) <= 1.5, 255, 0).astype(np.uint8))


def _pixels_off(ellipse: Ellipse) -> np.ndarray:
    """About how far each pixel lies from the outline."""
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return np.abs(ellipse.radius(rows, columns) - 1) * min(ellipse.semi_axes)


def _write_table(path: Path, rows: list[tuple]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
