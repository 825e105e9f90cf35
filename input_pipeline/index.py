"""Index of a prepared dataset: one small file beside the records with what is known of each example but its pixels.

With it a dataset of 100,000 images opens in half a second. It says which structures each image shows, and its digest
changes with any pixel, so that a split belongs to exactly these images.
"""

import dataclasses
import hashlib
import pathlib
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Float32, Int64

from fetal_jax.core.atomic import replacing_file
from input_pipeline.builders.common import SPLIT

FILE = "index.npz"


@dataclasses.dataclass(frozen=True)
class Index:
    """One row per example, in the order of the records."""

    names: tuple[str, ...]
    subjects: tuple[str, ...]
    groups: tuple[str, ...]  # e.g. an age; "" where a dataset has none
    labelled: Bool[np.ndarray, " n"]
    shapes: Int64[np.ndarray, "n dims"]
    spacing_mm: Float32[np.ndarray, "n dims"]  # by axis; 0 is unknown
    pixels: Int64[np.ndarray, "n ids"]  # of each class id up to the highest there is; all 0 where there are no labels
    digest: str  # SHA-256 over all of it and every pixel, whatever the order of the records


def open_index(builder: tfds.core.DatasetBuilder) -> Index:
    """The index of a prepared dataset; it is written at its first use."""
    path = pathlib.Path(builder.data_dir) / FILE
    if not path.is_file():
        write(path, make(builder))
    return read(path)


def make(builder: tfds.core.DatasetBuilder) -> Index:
    """Reads every image and its labels once."""
    rows = [_row(example) for example in _undecoded(builder)]
    sums = sorted(row.pop("digest") for row in rows)
    columns = {key: [row[key] for row in rows] for key in rows[0]}
    return Index(
        names=tuple(columns["name"]),
        subjects=tuple(columns["subject"]),
        groups=tuple(columns["group"]),
        labelled=np.array(columns["labelled"]),
        shapes=np.array(columns["shape"], np.int64),
        spacing_mm=np.array(columns["spacing_mm"], np.float32),
        pixels=_table(columns["pixels"]),
        digest=hashlib.sha256(b"".join(sums)).hexdigest(),
    )


def write(path: pathlib.Path, index: Index) -> None:
    """Writes the index atomically. It holds no pickles: texts are arrays of UTF-8 lines."""
    with replacing_file(path) as partial:
        np.savez(
            partial,
            names=_to_lines(index.names),
            subjects=_to_lines(index.subjects),
            groups=_to_lines(index.groups),
            labelled=index.labelled,
            shapes=index.shapes,
            spacing_mm=index.spacing_mm,
            pixels=index.pixels,
            digest=np.frombuffer(bytes.fromhex(index.digest), np.uint8),
        )


def read(path: pathlib.Path) -> Index:
    """The index that `write` wrote."""
    with np.load(path, allow_pickle=False) as arrays:
        return Index(
            names=_from_lines(arrays["names"]),
            subjects=_from_lines(arrays["subjects"]),
            groups=_from_lines(arrays["groups"]),
            labelled=arrays["labelled"],
            shapes=arrays["shapes"],
            spacing_mm=arrays["spacing_mm"],
            pixels=arrays["pixels"],
            digest=arrays["digest"].tobytes().hex(),
        )


def _to_lines(texts: tuple[str, ...]) -> np.ndarray:
    return np.frombuffer("\n".join(texts).encode(), np.uint8)


def _from_lines(lines: np.ndarray) -> tuple[str, ...]:
    return tuple(lines.tobytes().decode().split("\n"))


def _table(rows: list[np.ndarray]) -> np.ndarray:
    """The rows as one table, each padded with zeros to the length of the longest."""
    table = np.zeros((len(rows), max(map(len, rows))), np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return table


def _undecoded(builder: tfds.core.DatasetBuilder) -> Iterator[Mapping[str, Any]]:
    skip = {key: tfds.decode.SkipDecoding() for key in ("image", "labels")}
    return iter(builder.as_data_source(split=SPLIT, decoders=skip))


def _row(example: Mapping[str, Any]) -> dict[str, Any]:
    name, subject = example["name"].decode(), example["subject"].decode()
    group, labelled = example.get("group", b"").decode(), bool(example["labelled"])
    image, labels = _pixels(example["image"], np.uint16), _pixels(example["labels"], np.uint8)
    shape = image.shape[: len(example["spacing_mm"])]
    pixels = np.bincount(labels.ravel()) if labelled else np.zeros(1, np.int64)
    facts = repr((name, subject, group, labelled, image.shape, example["spacing_mm"].tolist())).encode()
    return {
        "name": name,
        "subject": subject,
        "group": group,
        "labelled": labelled,
        "shape": shape,
        "spacing_mm": example["spacing_mm"],
        "pixels": pixels,
        "digest": hashlib.sha256(hashlib.sha256(facts).digest() + image.tobytes() + labels.tobytes()).digest(),
    }


def _pixels(field: bytes | Mapping[str, Any], kind: type) -> np.ndarray:
    """The pixels of a PNG, or of a compressed tensor of that type with its shape."""
    if isinstance(field, bytes):
        return np.asarray(cv2.imdecode(np.frombuffer(field, np.uint8), cv2.IMREAD_UNCHANGED))
    return np.frombuffer(zlib.decompress(field["value"]), kind).reshape(field["shape"])
