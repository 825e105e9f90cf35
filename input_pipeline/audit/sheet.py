"""The picture sheet of an audit, a PNG: pairs side by side, flagged masks outlined."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8

from fetal_jax.core.atomic import replacing_file
from input_pipeline.audit.checks import Finding
from input_pipeline.audit.report import Audit

TILE_HEIGHT, TILE_WIDTH, CAPTION, TITLE, GAP = 300, 400, 22, 40, 8  # pixels
COLUMNS = 4
SHOWN = 16  # pictures of one section
PAPER, INK = (255, 255, 255), (40, 40, 40)
Picture = tuple[str, str]  # the name of an image, its caption


def write_sheet(path: str | os.PathLike, dataset: Any, audit: Audit) -> None:
    """Writes the findings of the audit of `dataset` as a PNG, atomically; at most SHOWN pictures per section."""
    strips = [_title(f"{audit.version}: {audit.n_images} images of {audit.n_subjects} subjects")]
    for title, pictures in _sections(audit):
        more = f" (and {len(pictures) - SHOWN} more pictures)" if len(pictures) > SHOWN else ""
        strips.append(_title(title + more))
        tiles = [_tile(dataset, *picture) for picture in pictures[:SHOWN]]
        strips += [_row(tiles[i : i + COLUMNS]) for i in range(0, len(tiles), COLUMNS)]
    if len(strips) == 1:
        strips.append(_title("nothing to show"))
    with replacing_file(path) as partial:
        if not cv2.imwrite(str(partial), np.vstack(strips)):
            raise OSError(f"{path}: cannot be written as a picture")


def _sections(audit: Audit) -> Iterator[tuple[str, list[Picture]]]:
    """A title and pictures for each kind of finding. Pairs take two tiles; of a group the first two are shown."""
    pairs: dict[str, list[Picture]] = {"same pixels, several subjects": [], "same pixels, one subject": []}
    for group in audit.exact:
        others = f" (of {len(group.names)})" if len(group.names) > 2 else ""
        kind = "same pixels, several subjects" if group.across_subjects else "same pixels, one subject"
        pairs[kind] += [(name, name + others) for name in group.names[:2]]
    for pair in audit.near:
        kind = f"near-duplicates, {'several subjects' if pair.across_subjects else 'one subject'}"
        flip = "" if pair.flip == "none" else f", flip {pair.flip}"
        captions = pair.names[0], f"{pair.names[1]} ({pair.correlation:.2f}{flip})"
        pairs.setdefault(kind, []).extend(zip(pair.names, captions, strict=True))
    if audit.leaks is not None:
        pairs["copies in several parts"] = [(name, name) for group in audit.leaks.copies for name in group[:2]]
    yield from ((title, pictures) for title, pictures in pairs.items() if pictures)
    findings: dict[str, list[Picture]] = {}
    for finding in (*audit.masks, *audit.spacing):
        if finding.kind != "unknown spacing":
            findings.setdefault(finding.kind, []).append((finding.name, _caption(finding)))
    yield from findings.items()


def _caption(finding: Finding) -> str:
    return " ".join(word for word in (finding.name, finding.structure, f"{finding.value:g}") if word)


def _tile(dataset: Any, name: str, caption: str) -> UInt8[np.ndarray, "h w 3"]:
    """The picture with its outlines, fitted into a tile, above its caption. Blue comes first, as OpenCV writes."""
    record = dataset[name]
    picture = record.picture()
    height, width = picture.shape
    scale = min(TILE_HEIGHT / height, (TILE_WIDTH - GAP) / width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    small = cv2.cvtColor(small, cv2.COLOR_GRAY2BGR)
    if record.labelled:
        labels = cv2.resize(record.picture_labels(), size, interpolation=cv2.INTER_NEAREST_EXACT)
        _outline(small, labels, dataset.facts.colours)
    tile = np.full((TILE_HEIGHT + CAPTION, TILE_WIDTH, 3), PAPER, np.uint8)
    top, left = (TILE_HEIGHT - size[1]) // 2, (TILE_WIDTH - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = small
    return _write(tile, caption, TILE_HEIGHT + CAPTION - 7, 0.45)


def _outline(picture: np.ndarray, labels: np.ndarray, colours: Sequence[tuple[int, int, int]]) -> None:
    for class_id in range(1, len(colours)):
        contours, _ = cv2.findContours((labels == class_id).astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, contours, -1, colours[class_id][::-1], 1)


def _row(tiles: Sequence[np.ndarray]) -> UInt8[np.ndarray, "h w 3"]:
    blank = np.full_like(tiles[0], PAPER)
    return np.hstack([*tiles, *[blank] * (COLUMNS - len(tiles))])


def _title(text: str) -> UInt8[np.ndarray, "h w 3"]:
    strip = np.full((TITLE, COLUMNS * TILE_WIDTH, 3), PAPER, np.uint8)
    return _write(strip, text, TITLE - 12, 0.7)


def _write(picture: np.ndarray, text: str, baseline: int, scale: float) -> np.ndarray:
    """Writes a line of text; OpenCV's letters are ASCII, others become question marks."""
    plain = text.encode("ascii", "replace").decode()
    return cv2.putText(picture, plain, (6, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, INK, 1, cv2.LINE_AA)
