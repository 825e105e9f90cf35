"""Predicting image files: masks in the native size of each, a table, and pictures if wanted."""

import csv
import math
import pathlib
from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from fetal_jax.atomic import replacing_file
from fetal_jax.evaluation import segmenter as segmenters
from fetal_jax.evaluation.pictures import outline
from fetal_jax.evaluation.segmenter import Segmentation, Segmenter
from fetal_jax.types import UserError
from input_pipeline.images import read_grey

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")


def predict_files(
    model: pathlib.Path,
    paths: Sequence[pathlib.Path],
    out: pathlib.Path,
    *,
    overlay: bool = False,
    tta: bool = False,
    spacing_mm: float | None = None,
) -> Iterator[str]:
    """Segments images; yields a line for each.

    Writes `out/NAME.png` (class ids 0..C-1, native size), `out/NAME_overlay.png` if `overlay`, and
    `out/predictions.csv` with a row an image and class. Every input is read once before anything is written.

    Raises UserError naming the file that is missing, no image, or would overwrite another's mask.
    """
    segmenter = segmenters.load(str(model))
    segmenter = segmenter.with_flips() if tta else segmenter
    if spacing_mm is not None and not 0 < spacing_mm < math.inf:
        raise UserError(f"--spacing is {spacing_mm}: give the pixel size in mm, a positive number")
    files = _image_files(paths)
    for file in files:
        read_grey(file)
    _check_names(files, out, ("", "_overlay") if overlay else ("",))
    out.mkdir(parents=True, exist_ok=True)
    spacing = (spacing_mm, spacing_mm) if spacing_mm else None
    rows = []
    for file in files:
        image = read_grey(file)
        answer = segmenter(image, spacing)
        _write_png(out / f"{file.stem}.png", answer.labels)
        if overlay:
            _write_png(out / f"{file.stem}_overlay.png", _drawn(image, answer, segmenter))
        rows += _rows(file, answer, segmenter)
        yield f"{file} -> {out / file.stem}.png"
    _write_table(out / "predictions.csv", rows)


def _image_files(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    files: list[pathlib.Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if p.suffix.lower() in SUFFIXES)
            if not found:
                raise UserError(f"{path} holds no image: it needs files ending in {', '.join(SUFFIXES)}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path} does not exist: give image files or folders of them")
    return files


def _check_names(files: Sequence[pathlib.Path], out: pathlib.Path, endings: Sequence[str]) -> None:
    seen: dict[str, pathlib.Path] = {}
    for file in files:
        if file.parent.resolve() == out.resolve():
            raise UserError(f"--out {out} is the folder of {file}: its images would be overwritten, choose another")
        for name in (file.stem + ending for ending in endings):
            if name in seen:
                raise UserError(f"{file} and {seen[name]} would both write {name}.png: predict them into two folders")
            seen[name] = file


def _drawn(image: np.ndarray, answer: Segmentation, segmenter: Segmenter) -> np.ndarray:
    colours = segmenter.card.facts.colours
    return cv2.cvtColor(outline(image, [(answer.labels, colours)]), cv2.COLOR_RGB2BGR)


def _write_png(path: pathlib.Path, array: np.ndarray) -> None:
    with replacing_file(path) as partial:
        if not cv2.imwrite(str(partial), array):
            raise UserError(f"cannot write {path}: check that the folder is writable and the disk is not full")


def _rows(file: pathlib.Path, answer: Segmentation, segmenter: Segmenter) -> list[dict[str, object]]:
    rows = []
    for i, name in enumerate(segmenter.card.facts.classes):
        if i:
            mask = answer.labels == i
            area = answer.area_mm2[name]
            confidence = f"{answer.probs[..., i][mask].mean():.4f}" if mask.any() else ""
            rows.append(
                {
                    "name": file.stem,
                    "file": str(file),
                    "class": name,
                    "pixels": int(mask.sum()),
                    "area_mm2": "" if area is None else f"{area:.3f}",
                    "confidence": confidence,
                }
            )
    return rows


def _write_table(path: pathlib.Path, rows: list[dict[str, object]]) -> None:
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
