"""Reads one plane of Large Fetal Head Biometry, and checks every image and mask before anything is written."""

import csv
import dataclasses
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
from jaxtyping import UInt8

from fetal_jax.core.types import UserError
from input_pipeline.builders.common import SourceReport
from input_pipeline.builders.fetal_head_biometry.layout import Layout, find_layout
from input_pipeline.builders.fetal_head_biometry.masks import PUBLISHED, Colours, class_ids, decode_mask, read_colours
from input_pipeline.formats.raster import decode_grey

NAME = re.compile(r"Patient(?P<patient>\d+)_.+|(?P<head>\d{3})_\d*HC")
DIVERSE: Colours = dict(PUBLISHED) | {"csp": (255, 255, 0)}  # the only plane whose masks have a yellow CSP
REMEDY = "restore, correct or remove these files"
Result = TypeVar("Result")


@dataclasses.dataclass(frozen=True)
class Head:
    """One annotated image."""

    image: Path
    mask: Path
    colours: Colours  # of its mask, by class
    subject: str
    published_pixel_mm: float  # 0 is unknown
    repaired_pixels: int

    @property
    def name(self) -> str:
        return self.image.stem


def read_source(source: str | Path, plane: str) -> SourceReport:
    """The images of one of `layout.PLANES` with their masks, by name.

    Raises UserError if the folder does not hold that plane, or its table of colours is wrong.
    """
    layout = find_layout(Path(source), plane)
    colours = _colours(layout, DIVERSE if plane == "diverse" else PUBLISHED)
    sizes = _pixel_sizes(layout.pixel_sizes)
    problems: list[str] = []
    images, masks = _names(layout.images, problems), _names(layout.masks, problems)
    problems += [f"{name}.png has no mask in {layout.masks.name}" for name in sorted(images - masks)]
    problems += [f"{layout.masks.name}/{name}.png has no image" for name in sorted(masks - images)]
    heads = []
    for name in sorted(images & masks):
        try:
            heads.append(_read_head(layout, name, colours, sizes.get(name, 0.0)))
        except ValueError as error:
            problems.append(str(error))
    return SourceReport(heads, problems, notes=_notes(heads, plane), remedy=REMEDY)


def read_labels(head: Head) -> UInt8[np.ndarray, "h w"]:
    """Ids in the order of `masks.CLASSES`."""
    return class_ids(decode_mask(head.mask.read_bytes()), head.colours)[0]


def _colours(layout: Layout, published: Colours) -> Colours:
    if layout.labelmap is None:
        return published
    try:
        return read_colours(layout.labelmap.read_text(errors="replace"))
    except ValueError as error:
        raise UserError(
            f"{layout.labelmap} {error}: correct it, or remove it if the colours are as published"
        ) from error


def _names(folder: Path, problems: list[str]) -> set[str]:
    """Names of PNG files that are not hidden; those that cannot be printed go to `problems`."""
    names = {path.stem for path in folder.glob("*.png") if not path.name.startswith(".")}
    odd = {name for name in names if not name.isprintable()}
    where = sorted(f"{folder.name}/{name}.png" for name in odd)
    problems += [f"{file!r} has a line break or control character in its name" for file in where]
    return names - odd


def _read_head(layout: Layout, name: str, colours: Colours, pixel_mm: float) -> Head:
    """Raises ValueError that names the file if it or its mask is wrong."""
    image, mask = layout.images / f"{name}.png", layout.masks / f"{name}.png"
    match = NAME.fullmatch(name)
    if match is None:
        raise ValueError(f"{name}.png is not named like Patient01039_Plane3_2_of_2.png or 010_2HC.png")
    shape = _with_file_name(image.name, lambda: decode_grey(image.read_bytes())).shape
    where = f"{mask.parent.name}/{mask.name}"
    rgb = _with_file_name(where, lambda: decode_mask(mask.read_bytes()))
    if rgb.shape[:2] != shape:
        raise ValueError(f"{where} has shape {rgb.shape[:2]}, its image has {shape}")
    _, repaired = _with_file_name(where, lambda: class_ids(rgb, colours))
    return Head(image, mask, colours, match["patient"] or match["head"], pixel_mm, repaired)


def _with_file_name(where: str, read: Callable[[], Result]) -> Result:
    """The result of `read`; its ValueErrors are prefixed with the name of the file."""
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{where} {error}") from error


def _pixel_sizes(path: Path | None) -> dict[str, float]:
    """Pixel sizes in mm by image name; without images that have no positive number, or several that disagree.

    The headers of the table differ in blanks between planes.
    """
    if path is None:
        return {}
    sizes: dict[str, set[float]] = {}
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        for row in csv.DictReader(file):
            cells = {" ".join((key or "").lower().split()): value for key, value in row.items()}
            try:
                size = float(cells.get("pixel in mm") or "nan")
            except (TypeError, ValueError):
                size = math.nan
            if 0 < size < math.inf:
                sizes.setdefault(str(cells.get("label")).strip().removesuffix(".png"), set()).add(size)
    return {name: found.pop() for name, found in sizes.items() if len(found) == 1}


def _notes(heads: list[Head], plane: str) -> list[str]:
    blended = [head for head in heads if head.repaired_pixels]
    if not blended:
        return []
    most = max(blended, key=lambda head: head.repaired_pixels)
    total = sum(head.repaired_pixels for head in blended)
    return [
        f"{plane}: {total} blended pixels at edges repaired in {len(blended)} of {len(heads)} masks, at most"
        f" {most.repaired_pixels} in {most.name}"
    ]
