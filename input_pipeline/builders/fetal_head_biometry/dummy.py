"""Writes a small synthetic folder in the layout of Large Fetal Head Biometry, for tests and demonstrations."""

from pathlib import Path

import cv2
import numpy as np

from input_pipeline.builders.fetal_head_biometry.masks import CLASSES
from input_pipeline.builders.fetal_head_biometry.source import DIVERSE, PUBLISHED

SHAPE = (165, 240)  # a quarter of the published size
# By plane: its folder, the folder of its images, the folder of its masks.
FOLDERS = {
    "trans-thalamic": ("Trans-thalamic", "Trans-thalamic", "Trans-thalamic-Segmentation"),
    "trans-cerebellum": ("Trans-cerebellum", "Trans-cerebellum", "Trans-cerebellum-Segmentation"),
    "trans-ventricular": ("Trans-ventricular", "Trans-ventricular", "Trans-ventricular-segmentation-mask"),
    "diverse": ("Diverse Fetal Head Images", "Orginal_train_images_to_959_661", "Test-Dataset-Segmentation"),
}
TABLES = {plane: f"{names[0]}-Pixel-Size.csv" for plane, names in FOLDERS.items()}


def dummy_data(folder: str | Path, n_subjects: int = 4, seed: int = 0) -> dict[str, dict[str, np.ndarray]]:
    """Writes one image per plane and subject, two for the first subject; returns class ids [h w] by plane and name.

    The masks of the first subject have edges drawn with anti-aliasing; their ids here are those without.
    """
    folder, rng = Path(folder), np.random.default_rng(seed)
    ids: dict[str, dict[str, np.ndarray]] = {}
    for plane, (top, images, masks) in FOLDERS.items():
        colours, ids[plane] = DIVERSE if plane == "diverse" else PUBLISHED, {}
        for part in (images, f"{masks}/SegmentationClass", f"{masks}/SegmentationObject"):
            (folder / top / part).mkdir(parents=True)
        for subject in range(1, n_subjects + 1):
            for i in range(1, 3 if subject == 1 else 2):
                name = (
                    f"{subject:03d}_{'2' * (i - 1)}HC"
                    if plane == "diverse"
                    else f"Patient{subject:05d}_Plane3_{i}_of_2"
                )
                ids[plane][name], drawn = _head(rng, colours, smooth=subject == 1)
                _write(folder / top, images, masks, name, ids[plane][name], drawn, rng)
        _write_tables(folder / top, masks, colours, plane, ids[plane])
    return ids


def _head(rng: np.random.Generator, colours, smooth: bool) -> tuple[np.ndarray, np.ndarray]:
    """Class ids, and the same in colours, blue first."""
    centre = np.array([int(rng.integers(110, 130)), int(rng.integers(75, 90))])
    ids, drawn = np.zeros(SHAPE, np.uint8), np.zeros((*SHAPE, 3), np.uint8)
    parts = (((0, 0), (72, 55), "brain"), ((-38, 0), (9, 5), "csp"), ((25, 18), (20, 7), "lv"))
    for (x, y), axes, name in parts:
        at = (int(centre[0] + x), int(centre[1] + y))
        cv2.ellipse(ids, at, axes, 0, 0, 360, CLASSES.index(name), cv2.FILLED)
        line = cv2.LINE_AA if smooth else cv2.LINE_8
        cv2.ellipse(drawn, at, axes, 0, 0, 360, colours[name][::-1], cv2.FILLED, line)
    return ids, drawn


def _write(top: Path, images: str, masks: str, name: str, ids: np.ndarray, drawn: np.ndarray, rng) -> None:
    brightness = np.array([25, 80, 30, 20])[ids]
    grey = np.clip(brightness * rng.rayleigh(0.8, SHAPE), 0, 255).astype(np.uint8)
    cv2.imwrite(str(top / images / f"{name}.png"), np.stack([grey] * 3, axis=-1))
    cv2.imwrite(str(top / masks / "SegmentationClass" / f"{name}.png"), drawn)
    cv2.imwrite(str(top / masks / "SegmentationObject" / f"{name}.png"), (drawn > 0) * np.uint8(180))


def _write_tables(top: Path, masks: str, colours, plane: str, names) -> None:
    label = {"background": "background", "brain": "Brain", "csp": "CSP", "lv": "LV"}
    lines = [f"{label[name]}:{','.join(map(str, colour))}::" for name, colour in colours.items()]
    (top / masks / "labelmap.txt").write_text("\n".join(["# label:color_rgb:parts:actions", *lines]) + "\n")
    if plane != "diverse":
        rows = [f"{name}.png,0.2{i}" for i, name in enumerate(names, 1)]
        (top / TABLES[plane]).write_text("\n".join(["Label,Pixel  in mm", *rows]) + "\n", encoding="utf-8-sig")
