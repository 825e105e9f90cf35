"""A folder like HC18's, of small made-up heads, for tests and demonstrations."""

import csv
from pathlib import Path

import cv2
import numpy as np

from input_pipeline.builders.hc18.ellipse import Ellipse
from input_pipeline.builders.hc18.source import COLUMNS, FOLDER, SUFFIX, TABLE

SHAPE = (108, 160)


def dummy_data(folder: str | Path, n_subjects: int = 6, seed: int = 0) -> dict[str, Ellipse]:
    """Writes `n_subjects` in the published layout and returns the true ellipse by image name.

    Every third subject has two frames (000_HC, 000_2HC); the head of subject 001 leaves the frame on the
    left.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    (folder / FOLDER).mkdir(parents=True)
    ellipses, rows = {}, [COLUMNS]
    for subject in range(n_subjects):
        for frame in ("HC", "2HC") if subject % 3 == 0 else ("HC",):
            name, pixel_size_mm = f"{subject:03d}_{frame}", round(rng.uniform(0.5, 1.5), 6)
            ellipse = _head(rng, centre_column=25.0 if subject == 1 else 80.0)
            _write(folder / FOLDER, name, ellipse, rng)
            ellipses[name] = ellipse
            rows.append((f"{name}.png", pixel_size_mm, round(ellipse.circumference() * pixel_size_mm, 2)))
    with (folder / TABLE).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return ellipses


def _head(rng: np.random.Generator, centre_column: float) -> Ellipse:
    """A head of the usual cephalic index, somewhere near the middle row."""
    centre = (54.0 + rng.uniform(-6, 6), centre_column + rng.uniform(-5, 5))
    major = rng.uniform(38, 44)
    return Ellipse(centre, (major, major * rng.uniform(0.74, 0.84)), rng.uniform(-0.3, 0.3))


def _write(folder: Path, name: str, ellipse: Ellipse, rng: np.random.Generator) -> None:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    radius = ellipse.radius(rows, columns)
    pixels_off = np.abs(radius - 1) * min(ellipse.semi_axes)
    brightness = np.where(radius < 1, 60, 25) + 140 * np.exp(-((pixels_off / 2) ** 2))
    speckle = rng.rayleigh(0.8, SHAPE)
    outline = np.where(pixels_off <= 1.5, 255, 0)
    cv2.imwrite(str(folder / f"{name}.png"), np.clip(brightness * speckle, 0, 255).astype(np.uint8))
    cv2.imwrite(str(folder / f"{name}{SUFFIX}"), outline.astype(np.uint8))
