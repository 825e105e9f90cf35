"""The table that the HC18 challenge scores: an ellipse in mm for each image of its test set.

The format, and what of it is documented, is in input_pipeline/builders/hc18/README.md.
"""

import csv
import pathlib
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float

from fetal_jax.anatomy.ellipse import Ellipse, fit_mask, largest_component
from fetal_jax.core.atomic import replacing_file
from fetal_jax.core.types import UserError
from fetal_jax.inference import predictor as predictors
from fetal_jax.inference.predictor import Predictor
from input_pipeline.dataset import Dataset

COLUMNS = ("filename", "center_x_mm", "center_y_mm", "semi_axes_a_mm", "semi_axes_b_mm", "angle_rad")
HEAD = "head"
N_IMAGES = 335  # of the official test set
# The median head of the training set, in widths of the frame: its own size is off by 29 mm of HC on average.
TYPICAL_SEMI_AXES = (0.290, 0.230)

Row = Mapping[str, str | float]


def submit(
    models: Sequence[pathlib.Path],
    dataset: Dataset,
    out_csv: pathlib.Path,
    *,
    tta: str = "none",
    postprocess: str = "none",
) -> list[str]:
    """Writes a row for each image of `dataset`, atomically; returns what to tell the user of it.

    `models` are workdirs of runs, or their `model/`; several predict together. For `tta` and `postprocess` see
    `inference.predictor.load`. An image in which no head is found gets a typical one, and a line that names it.

    Raises UserError if there is no model or it knows no head, pixels have no known size or are not square, or `out_csv`
    is a folder.
    """
    predictor = predictors.load(models, tta, postprocess)
    _check(predictor, models[0], dataset)
    if out_csv.is_dir():
        raise UserError(f"--out {out_csv} is a folder: name a file in it, e.g. {out_csv / 'submission.csv'}")
    out_csv.parent.mkdir(parents=True, exist_ok=True)
    rows, notes = [], []
    for name, mask, spacing_mm in _masks(predictor, dataset):
        try:
            ellipse = fit_mask(largest_component(mask))
        except ValueError as error:
            ellipse = typical_head(mask.shape)
            notes.append(f"warning: {name}: the predicted mask {error}; its row is a typical head in mid-frame")
        rows.append(row(name, ellipse, spacing_mm))
    _write(out_csv, rows)
    if len(rows) != N_IMAGES:
        notes.append(f"warning: {dataset.name} has {len(rows)} images; the official test set has {N_IMAGES}")
    return [*notes, f"{len(rows)} heads, mean HC {np.mean([hc_mm(r) for r in rows]):.1f} mm -> {out_csv}"]


def _check(predictor: Predictor, workdir: pathlib.Path, dataset: Dataset) -> None:
    classes = predictor.config.facts.classes
    if HEAD not in classes:
        raise UserError(f"{workdir} segments {', '.join(classes[1:])}, no {HEAD}: give the workdir of a run on hc18")
    for name, spacing_mm in zip(dataset.index.names, dataset.index.spacing_mm.tolist(), strict=True):
        if spacing_mm[0] <= 0 or spacing_mm != [spacing_mm[0]] * 2:
            raise UserError(f"{dataset.name}: {name} has no size of its square pixels: use hc18/official_test")


def _masks(
    predictor: Predictor, dataset: Dataset
) -> Iterator[tuple[str, Bool[np.ndarray, "h w"], Float[np.ndarray, "2"]]]:
    """Name, mask of the head and spacing of each image, by name."""
    head = predictor.config.facts.classes.index(HEAD)
    for record in dataset.records(sorted(dataset.names)):
        yield record.name, predictor(record.image).labels == head, record.spacing_mm


def typical_head(shape: tuple[int, int]) -> Ellipse:
    """The median head of the training set, in the middle of a frame of that shape."""
    height, width = shape
    along, across = TYPICAL_SEMI_AXES
    return Ellipse(((height - 1) / 2, (width - 1) / 2), (width * along, width * across), 0.0)


def row(name: str, ellipse: Ellipse, spacing_mm: Float[np.ndarray, "2"]) -> Row:
    """The ellipse in mm, with the longer semi-axis first and its angle from the x axis towards y (down) in [0, pi).

    `spacing_mm` is (row, column), and both must be the same: HC18's pixels are square.
    """
    size = float(spacing_mm[0])
    (y, x), (along, across), angle = ellipse.centre, ellipse.semi_axes, ellipse.angle
    if along < across:
        along, across, angle = across, along, angle + np.pi / 2
    values = (f"{name}.png", x * size, y * size, along * size, across * size, angle % np.pi)
    return dict(zip(COLUMNS, values, strict=True))


def hc_mm(row: Row) -> float:
    """The head circumference of a row: that of its ellipse."""
    semi_axes = float(row["semi_axes_a_mm"]), float(row["semi_axes_b_mm"])
    return Ellipse((0.0, 0.0), semi_axes, 0.0).circumference()


def _write(path: pathlib.Path, rows: list[Row]) -> None:
    with replacing_file(path) as partial, partial.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([[r[COLUMNS[0]], *(f"{r[column]:.6f}" for column in COLUMNS[1:])] for r in rows])
