"""Prediction of image files of any format: masks in the native size of each, tables, and overlays."""

import math
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from fetal_jax.core.types import UserError
from fetal_jax.inference import predictor as predictors
from fetal_jax.inference.measurements import AnomalyReference, measurements, read_detector
from fetal_jax.inference.outputs import Row, check_outputs, reading, write_table
from fetal_jax.inference.overlay import outline, write_png
from fetal_jax.inference.predict_volumes import predict_scans
from fetal_jax.inference.predictor import Predictor
from fetal_jax.inference.segmenter import InferenceConfig, Segmentation
from input_pipeline.formats import KIND_OF, Stack, read, stem

SUFFIXES = tuple(KIND_OF)
WEEKS = 10, 45  # of a fetus that anybody measures


def predict_files(
    model: pathlib.Path | Sequence[pathlib.Path],
    paths: Sequence[pathlib.Path],
    out: pathlib.Path,
    *,
    overlay: bool = False,
    tta: str = "none",
    postprocess: str = "none",
    spacing_mm: float | None = None,
    ga_weeks: float | None = None,
) -> Iterator[str]:
    """Segments images, or the scans of a network of volumes (`predict_scans`); yields a line for each.

    A file is PNG, JPEG, BMP, TIFF, NIfTI or DICOM, and has the grey values that preparation gives it. Its pixel size is
    `spacing_mm`, else its own, else unknown. A volume or film is segmented frame by frame (a NIfTI along its last axis)
    and its frames are called NAME_000, NAME_001, ...; other files NAME.

    `model` is a workdir or its `model/`, or several that predict together (inference.ensemble). `tta` and `postprocess`
    are names of inference.tta and inference.postprocessing; "auto" is how the run was last evaluated.

    Writes `out/NAME.png` (class ids 0..C-1, native size) whatever the format, `out/NAME_overlay.png` if `overlay`,
    `out/predictions.csv` with one row per frame and class, and `out/measurements.csv` with one row per frame: sizes,
    age, and what is unusual at `ga_weeks` (see inference.measurements). Every input is read once before anything is
    written, and one is in memory at a time.

    Raises UserError naming the file that is missing, cannot be read, or would overwrite another's mask, or a name that
    is unknown.
    """
    models = [model] if isinstance(model, pathlib.Path) else model
    predictor = predictors.load(models, tta, postprocess)
    _check_numbers(predictor.config.facts.dims, spacing_mm, ga_weeks)
    if ga_weeks is not None and not WEEKS[0] <= ga_weeks <= WEEKS[1]:
        raise UserError(f"--ga-weeks is {ga_weeks}: give the gestational age in weeks, {WEEKS[0]} to {WEEKS[1]}")
    if predictor.config.facts.dims == 3:  # other file formats, channels and outputs: the data spec
        yield from predict_scans(predictor, paths, out, overlay=overlay)
        return
    files = _image_files(paths)
    frames = [(file, name) for file in files for name in _frame_names(file, _read(file))]
    endings = (".png", "_overlay.png") if overlay else (".png",)
    check_outputs(((file, name + ending) for file, name in frames for ending in endings), out)
    out.mkdir(parents=True, exist_ok=True)
    reference = AnomalyReference(read_detector(models[0]), ga_weeks)
    rows, measured = [], []
    for file in files:
        for line, of_classes, of_frame in _predict_file(file, predictor, out, spacing_mm, overlay, reference):
            rows += of_classes
            measured.append(of_frame)
            yield line
    write_table(out / "predictions.csv", rows)
    write_table(out / "measurements.csv", measured)


def _check_numbers(dims: int, spacing_mm: float | None, ga_weeks: float | None) -> None:
    if spacing_mm is not None and not 0 < spacing_mm < math.inf:
        raise UserError(f"--spacing is {spacing_mm}: give the pixel size in mm, a positive number")
    if ga_weeks is not None and not 0 < ga_weeks < math.inf:
        raise UserError(f"--ga-weeks is {ga_weeks}: give the gestational age in weeks, a positive number")
    # The data spec: a volume's file holds its spacing, and normals by age are of images.
    if dims == 3 and spacing_mm is not None:
        raise UserError(f"--spacing is {spacing_mm}: a volume has its own, leave it out")
    if dims == 3 and ga_weeks is not None:
        raise UserError(f"--ga-weeks is {ga_weeks}: nothing of a volume is judged by age, leave it out")


def _predict_file(
    file: pathlib.Path,
    predictor: Predictor,
    out: pathlib.Path,
    spacing_mm: float | None,
    overlay: bool,
    reference: AnomalyReference,
) -> Iterator[tuple[str, list[Row], Row]]:
    """Writes what belongs to each frame; yields its line, its rows by class and its measurements, one at a time."""
    stack = _read(file)
    spacing = (spacing_mm, spacing_mm) if spacing_mm else stack.spacing_mm
    for name, image in zip(_frame_names(file, stack), stack.grey(), strict=True):
        segmentation = predictor(image, spacing)
        write_png(out / f"{name}.png", segmentation.labels)
        if overlay:
            write_png(out / f"{name}_overlay.png", _drawn(image, segmentation, predictor.config))
        measured = measurements(name, image, segmentation, predictor.config, spacing, reference)
        yield f"{file} -> {out / name}.png", _rows(name, file, segmentation, predictor.config), measured


def _image_files(paths: Sequence[pathlib.Path]) -> list[pathlib.Path]:
    files: list[pathlib.Path] = []
    for path in paths:
        if path.is_dir():
            found = sorted(p for p in path.iterdir() if _is_image(p))
            if not found:
                raise UserError(f"{path} holds no image: it needs files ending in {', '.join(SUFFIXES)}")
            files += found
        elif path.is_file():
            files.append(path)
        else:
            raise UserError(f"{path} does not exist: give image files or folders of them")
    return files


def _is_image(path: pathlib.Path) -> bool:
    return path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file()


def _read(path: pathlib.Path) -> Stack:
    with reading(path):
        return read(path)


def _frame_names(file: pathlib.Path, stack: Stack) -> list[str]:
    """As preparation calls them."""
    name = stem(file)
    return [f"{name}_{i:03d}" for i in range(len(stack.frames))] if stack.is_volume else [name]


def _drawn(image: np.ndarray, segmentation: Segmentation, config: InferenceConfig) -> np.ndarray:
    return outline(image, [(segmentation.labels, config.facts.colours)])


def _rows(name: str, file: pathlib.Path, segmentation: Segmentation, config: InferenceConfig) -> list[Row]:
    rows = []
    for i, structure in enumerate(config.facts.classes):
        if i:
            mask = segmentation.labels == i
            area = segmentation.area_mm2[structure]
            confidence = f"{segmentation.probs[..., i][mask].mean():.4f}" if mask.any() else ""
            rows.append(
                {
                    "name": name,
                    "file": str(file),
                    "class": structure,
                    "pixels": int(mask.sum()),
                    "area_mm2": "" if area is None else f"{area:.3f}",
                    "confidence": confidence,
                }
            )
    return rows
