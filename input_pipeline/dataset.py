"""Prepared datasets: random access to decoded examples, in native geometry or at network size.

`NetImages` decodes each file once and keeps the image at network size, in uint8.
"""

import contextlib
import dataclasses
import errno
import functools
import hashlib
import io
import itertools
import os
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import Bool, Int64, UInt8

from fetal_jax.core.atomic import locked, replacing_folder, surviving_folder
from fetal_jax.core.types import DatasetFacts, UserError
from input_pipeline import builders
from input_pipeline.builders.common import SHOWN, SPLIT, read_metadata
from input_pipeline.cache import MemoryCache
from input_pipeline.index import Index, open_index
from input_pipeline.letterbox import Letterbox
from input_pipeline.split_assignment import SplitItem

SCRATCH = ".preparing-"
RECORD_FIELDS = {"name", "subject", "image", "labels", "labelled", "spacing_mm"}  # the fields of every record


@dataclasses.dataclass(frozen=True)
class Record:
    """One decoded example in its native geometry: an image [h w], or a volume [d h w]."""

    name: str
    subject: str
    image: np.ndarray  # uint8 [h w c], or uint16 [d h w c]
    labels: np.ndarray  # uint8 [h w] or [d h w], ids of the selected classes
    labelled: bool
    spacing_mm: np.ndarray  # float32 by axis; 0 is unknown
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # further fields of its dataset, e.g. ga_weeks

    def picture(self) -> UInt8[np.ndarray, "h w"]:
        """The picture to show: the first channel, of a volume that of the middle slice."""
        if self.image.ndim == 3:
            return self.image[..., 0]
        return (self.image[len(self.image) // 2, ..., 0] >> 8).astype(np.uint8)

    def picture_labels(self) -> UInt8[np.ndarray, "h w"]:
        """The labels of `picture`."""
        return self.labels if self.labels.ndim == 2 else self.labels[len(self.labels) // 2]


def default_data_dir() -> pathlib.Path:
    """The folder of prepared data: $FETAL_JAX_DATA, else ~/.cache/fetal_jax."""
    return pathlib.Path(os.environ.get("FETAL_JAX_DATA") or pathlib.Path.home() / ".cache" / "fetal_jax")


def prepare(
    dataset: str,
    data_dir: pathlib.Path,
    source: str | None = None,
    *,
    overwrite: bool = False,
    keep_going: bool = False,
) -> tfds.core.DatasetBuilder:
    """Writes the dataset under `data_dir` unless it is there already. `source` is the user's folder of raw files.

    With `overwrite` it is written again, and the old one is removed once the new one is complete. With `keep_going`
    bad files are listed and the others prepared. Raises UserError if the dataset is unknown, or needs raw files and
    they are missing or wrong.
    """
    path = pathlib.Path(builders.builder(dataset, str(data_dir)).data_dir)
    if surviving_folder(path) != path:
        surviving_folder(path).rename(path)
    if path.exists() and not overwrite:
        builder = builders.builder(dataset, str(data_dir))
        if source is not None:
            _check_source(dataset, source, builder)
        return builder
    if path.exists() and source is None and builders.needs_source(dataset):
        raise UserError(f"--overwrite prepares {dataset} from its files again: name their folder with --source DIR")
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    settings = {"source": source, "keep_going": keep_going} if source is not None else {}
    data_dir.mkdir(parents=True, exist_ok=True)
    with _scratch(data_dir) as scratch:
        builder = builders.builder(dataset, scratch, **settings)
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints about downloads, and there are none
            _write(builder)
        open_index(builder)
        with replacing_folder(path) as partial:
            os.replace(builder.data_dir, partial)
    return builders.builder(dataset, str(data_dir))


def _write(builder: tfds.core.DatasetBuilder) -> None:
    try:
        builder.download_and_prepare()
    except RuntimeError as error:  # ArrayRecord's writer raises no OSError for a full disk
        if os.strerror(errno.ENOSPC) not in str(error):
            raise
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(builder.data_dir)) from error


def _check_source(dataset: str, source: str, builder: tfds.core.DatasetBuilder) -> None:
    """Raises UserError if the prepared data was read from another folder: it would be mistaken for this one."""
    before = read_metadata(builder).get("source")
    if before != str(pathlib.Path(source).absolute()):
        beside = " (or prepare folder/NAME beside it)" if dataset.startswith("folder") else ""
        raise UserError(f"{dataset} is prepared already, from {before}: --overwrite replaces it by {source}{beside}")
    print(f"{dataset} is prepared already in {builder.data_dir}: --overwrite does it again", file=sys.stderr)


@contextlib.contextmanager
def _scratch(data_dir: pathlib.Path) -> Iterator[str]:
    """A locked scratch folder to prepare in. Those that no running process holds were left by a kill: removed."""
    for left in data_dir.glob(f"{SCRATCH}*"):
        with contextlib.suppress(BlockingIOError), locked(left):
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=SCRATCH) as scratch, locked(pathlib.Path(scratch)):
        yield scratch


def list_datasets(data_dir: pathlib.Path) -> list[str]:
    """One line per dataset and config: its name, and how many images are prepared under `data_dir`."""
    lines = []
    for dataset in builders.all_names(data_dir):
        builder = builders.builder(dataset, str(data_dir))
        facts = builders.facts(dataset)
        number = builder.info.splits[SPLIT].num_examples if builder.data_path.exists() else None
        state = "not prepared" if number is None else f"{number} {facts.unit}"
        lines.append(f"{dataset:40} {state:16} {facts.title}")
    return lines


class Dataset:
    """The examples of a prepared dataset, by name.

    Attributes:
      facts: those of the selected structures.
      version: name, version and a digest of every pixel and of the classes.
      index: what is known of each example without decoding it; its rows are in the order of `names`, and its class
        ids are those of the whole dataset, not of the selected structures.
    """

    def __init__(self, dataset: str, data_dir: pathlib.Path, structures: Sequence[str] = ()):
        """Opens it; a synthetic one is generated first. `structures` selects foreground classes, all if empty.

        Raises UserError if the dataset is unknown or not prepared, or a structure is not one of its classes.
        """
        self.name = builders.canonical(dataset)
        builder = prepare(self.name, data_dir)
        facts = builders.facts(self.name, data_dir)
        self.facts, self._new_id = select(facts, structures)
        self.index = open_index(builder)
        self.version = f"{self.name}:{builder.version}:{_digest(facts, self.index)[:16]}"
        self.notes = _notes(read_metadata(builder))
        self._examples = builder.as_data_source(split=SPLIT)
        self._row = {name: i for i, name in enumerate(self.index.names)}
        self.subjects = dict(zip(self.index.names, self.index.subjects, strict=True))
        self.labelled: dict[str, bool] = dict(zip(self.index.names, map(bool, self.index.labelled), strict=True))

    @property
    def names(self) -> list[str]:
        return list(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def class_pixels(self, names: Sequence[str] | None = None) -> Int64[np.ndarray, "n classes"]:
        """Pixels of each selected class in the named examples, by default in all; 0 where unlabelled."""
        rows = slice(None) if names is None else [self._row[name] for name in names]
        found = self.index.pixels[rows]
        table = np.zeros((len(found), len(self.facts.classes)), np.int64)
        for old in range(found.shape[1]):
            table[:, self._new_id[old]] += found[:, old]
        return table

    @functools.cached_property
    def shows(self) -> dict[str, frozenset[str]]:
        """The selected structures that each example has a pixel of."""
        rows = self.class_pixels() > 0
        known: dict[bytes, frozenset[str]] = {}  # many examples share one set
        sets = (known.setdefault(row.tobytes(), self._structures(row)) for row in rows)
        return dict(zip(self.index.names, sets, strict=True))

    def _structures(self, row: Bool[np.ndarray, " classes"]) -> frozenset[str]:
        return frozenset(itertools.compress(self.facts.foreground, row[1:]))

    def split_items(self) -> list[SplitItem]:
        """The examples, as `split_assignment.make_splits` takes them."""
        columns = (self.index.names, self.index.subjects, self.labelled.values(), self.shows.values())
        return [SplitItem(*row) for row in zip(*columns, self.index.groups, strict=True)]

    def __getitem__(self, name: str) -> Record:
        example: Mapping[str, Any] = self._examples[self._row[name]]
        labels = example["labels"].reshape(example["image"].shape[:-1])  # those of images have a channel in TFDS
        return Record(
            name=name,
            subject=self.subjects[name],
            image=example["image"],
            labels=self._new_id[labels],
            labelled=self.labelled[name],
            spacing_mm=example["spacing_mm"],
            about={key: _to_python(value) for key, value in example.items() if key not in RECORD_FIELDS},
        )

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The named examples, one by one, each once."""
        return (self[name] for name in names)


def _to_python(value: Any) -> Any:
    """Bytes as text and NumPy numbers as Python's; arrays stay arrays."""
    if isinstance(value, bytes):
        return value.decode()
    return value.item() if isinstance(value, np.generic) else value


def _digest(facts: DatasetFacts, index: Index) -> str:
    """SHA-256 over every pixel and the class names."""
    return hashlib.sha256(f"{index.digest} {facts.classes}".encode()).hexdigest()


def _notes(metadata: Mapping[str, Any]) -> list[str]:
    """Notes of the preparation: what the builder said, and what was left out."""
    left_out = metadata.get("left_out", ())
    more = f"; and {len(left_out) - SHOWN} more" if len(left_out) > SHOWN else ""
    told = [f"{len(left_out)} problems were left out: {'; '.join(left_out[:SHOWN])}{more}"] if left_out else []
    return [*metadata.get("notes", ()), *told]


def select(facts: DatasetFacts, structures: Sequence[str]) -> tuple[DatasetFacts, np.ndarray]:
    """The facts of a dataset reduced to some structures, and the table [256] from old to new class ids."""
    unknown = [name for name in structures if name not in facts.foreground]
    if unknown:
        raise UserError(f"structures names {unknown[0]!r}: choose from {', '.join(facts.foreground)}")
    old_ids = [0] + [facts.classes.index(name) for name in structures or facts.foreground]
    table = np.zeros(256, np.uint8)
    table[old_ids] = np.arange(len(old_ids))
    kept = dataclasses.replace(
        facts,
        classes=tuple(facts.classes[i] for i in old_ids),
        colours=tuple(facts.colours[i] for i in old_ids),
    )
    return kept, table


class NetImages:
    """A random-access source of the named images at network size: image, labels, weights, spacing.

    Items are kept in uint8 in up to `memory` bytes: 4 GB are 30,000 images of 256x256. Further ones are decoded at
    every draw.
    """

    def __init__(self, dataset: Dataset, names: Sequence[str], size: int, memory: int = 4 * 2**30):
        """Raises UserError for a dataset of volumes, whose patches `PatchStream` draws."""
        if dataset.facts.dims != 2:  # a letterbox is a square
            raise UserError(f"dataset {dataset.name} has volumes: this program takes images; draw patches of it")
        self._dataset, self._names, self._size = dataset, list(names), size
        self._resized = MemoryCache(self._resize, lambda item: item[0].nbytes + item[1].nbytes, memory)

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:  # grain prints sources in its errors
        return f"NetImages({self._dataset.name}, {len(self)} images, size {self._size})"

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        image, labels, letterbox, spacing_mm = self._resized[i]
        return {"image": image, "labels": labels, "weights": letterbox.weights(), "spacing_mm": spacing_mm}

    def image(self, i: int) -> np.ndarray:
        """The image at network size, uint8 [size size c]."""
        return self._resized[i][0]

    def picture(self, i: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The image and labels of it at network size, to draw."""
        return self.image(i)[..., 0], labels

    def valid(self, i: int) -> np.ndarray:
        """1 on the image, 0 in its padding, float32 [size size]."""
        return self._resized[i][2].weights()

    def _resize(self, i: int) -> tuple[np.ndarray, np.ndarray, Letterbox, np.ndarray]:
        record = self._dataset[self._names[i]]
        letterbox = Letterbox.fit(record.image.shape[:2], self._size)
        image, labels = letterbox.image_to_net(record.image), letterbox.labels_to_net(record.labels)
        return image, labels, letterbox, letterbox.spacing_to_net(record.spacing_mm)
