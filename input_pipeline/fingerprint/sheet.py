"""A contact sheet: pictures of a dataset with their masks, names and subjects, and a legend of the classes."""

import os
import pathlib
from collections.abc import Sequence

import cv2
import matplotlib
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from fetal_jax.core.atomic import replacing_file
from input_pipeline.dataset import Dataset, Record
from input_pipeline.fingerprint.dataset_fingerprint import Fingerprint
from input_pipeline.fingerprint.example_selection import select_examples

RGB = tuple[int, int, int]

WIDTH, MARGIN = 1280, 12  # px
COLUMNS, ROWS = 5, 4
CELL = (WIDTH - MARGIN) // COLUMNS - MARGIN  # px of a picture's width
PAPER, INK, FAINT = (24, 24, 24), (235, 235, 235), (160, 160, 160)
TITLE, LINE = 34, 20  # px high
FILL = 0.3  # opacity of the class colour over a structure; its border is opaque


def write_sheet(path: str | os.PathLike, dataset: Dataset, found: Fingerprint) -> None:
    """Writes a PNG 1280 px wide of at most 20 examples, atomically; the folder must exist.

    A volume is shown by its middle slice.
    """
    chosen = select_examples(dataset, COLUMNS * ROWS)
    records = list(dataset.records([dataset.index.names[row] for row in chosen]))
    height = _cell_height(records)
    legend = _legend(found)
    rows = -(-len(records) // COLUMNS)
    top = MARGIN + TITLE + LINE * len(legend) + MARGIN
    sheet = Image.new("RGB", (WIDTH, top + rows * (height + 2 * LINE + MARGIN)), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (MARGIN, MARGIN), f"{found.title}: {len(records)} of {found.n_images:,} {found.words.unit}", INK, _font(18)
    )
    _draw_legend(draw, legend, dict(zip(dataset.facts.classes, dataset.facts.colours, strict=True)))
    for i, record in enumerate(records):
        row, column = divmod(i, COLUMNS)
        corner = MARGIN + column * (CELL + MARGIN), top + row * (height + 2 * LINE + MARGIN)
        sheet.paste(Image.fromarray(overlay(record, dataset.facts.colours, (height, CELL))), corner)
        _draw_caption(draw, record, dataset.index.groups[chosen[i]], (corner[0], corner[1] + height + 2))
    with replacing_file(path) as partial:
        sheet.save(partial)


def overlay(record: Record, colours: Sequence[RGB], box: tuple[int, int]) -> UInt8[np.ndarray, "rows columns 3"]:
    """The picture centred in a box of so many rows and columns, its structures tinted and outlined."""
    picture, labels = record.picture(), record.picture_labels()
    scale = min(box[0] / picture.shape[0], box[1] / picture.shape[1])
    rows, columns = (max(1, round(n * scale)) for n in picture.shape)
    grey = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small = cv2.resize(labels, (columns, rows), interpolation=cv2.INTER_NEAREST_EXACT)
    canvas = np.full((*box, 3), PAPER, np.uint8)
    top, left = (box[0] - rows) // 2, (box[1] - columns) // 2
    canvas[top : top + rows, left : left + columns] = _tint(grey, small, colours)
    return canvas


def _tint(
    grey: UInt8[np.ndarray, "h w"], labels: UInt8[np.ndarray, "h w"], colours: Sequence[RGB]
) -> UInt8[np.ndarray, "h w 3"]:
    """Structures tinted in their colour, their borders opaque; the background unchanged."""
    around = np.ones((3, 3), np.uint8)
    border = cv2.dilate(labels, around) != cv2.erode(labels, around)
    share = np.where(labels == 0, 0.0, np.where(border, 1.0, FILL))[..., None]
    mixed = (1 - share) * grey[..., None] + share * np.array(colours, np.float64)[labels]
    return np.rint(mixed).astype(np.uint8)


def _cell_height(records: Sequence[Record]) -> int:
    """Height of a picture by the median aspect, within 0.5 and 1.25 times the width."""
    aspects = [height / width for height, width in (record.picture().shape for record in records)]
    return round(CELL * float(np.clip(np.median(aspects), 0.5, 1.25)))


def _legend(found: Fingerprint) -> list[list[tuple[str, str]]]:
    """Lines of (class, words), as many per line as fit."""
    if not found.n_labelled:
        return [[("", "no image is labelled")]]
    lines: list[list[tuple[str, str]]] = [[]]
    for each in found.classes[1:]:
        entry = (each.name, f"{each.name} (in {each.n_images:,} of {found.n_labelled:,})")
        if lines[-1] and _legend_width([*lines[-1], entry]) > WIDTH - MARGIN:
            lines.append([])
        lines[-1].append(entry)
    return lines


def _legend_width(entries: Sequence[tuple[str, str]]) -> int:
    return sum(LINE + int(_font(14).getlength(words)) + MARGIN for _, words in entries)


def _draw_legend(
    draw: ImageDraw.ImageDraw, lines: Sequence[Sequence[tuple[str, str]]], colours: dict[str, RGB]
) -> None:
    for number, entries in enumerate(lines):
        y = MARGIN + TITLE + number * LINE
        for i, (name, words) in enumerate(entries):
            x = MARGIN + _legend_width(entries[:i])
            if name:
                draw.rectangle((x, y + 2, x + 13, y + 15), fill=colours[name])
            draw.text((x + (LINE if name else 0), y), words, INK, _font(14))


def _draw_caption(draw: ImageDraw.ImageDraw, record: Record, group: str, corner: tuple[int, int]) -> None:
    x, y = corner
    facts = [f"subject {record.subject}", group, "" if record.labelled else "unlabelled"]
    subject = ", ".join(filter(None, facts))
    draw.text((x, y), _shortened(record.name, _font(14)), INK, _font(14))
    draw.text((x, y + LINE - 2), _shortened(subject, _font(13)), FAINT, _font(13))


def _shortened(words: str, font: ImageFont.FreeTypeFont) -> str:
    """The words, shortened in the middle until they fit below a picture."""
    kept = len(words)
    short = words
    while font.getlength(short) > CELL:
        kept -= 1
        short = f"{words[: kept - kept // 2]}…{words[len(words) - kept // 2 :]}"
    return short


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Matplotlib: Pillow's own has ASCII only."""
    return ImageFont.truetype(str(pathlib.Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)
