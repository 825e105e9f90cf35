"""A prepared dataset: random access to decoded examples, in native geometry or at network size.

Every file is decoded once: `NetImages` keeps what a network sees, small and in uint8, as it is first asked for.
"""

import contextlib
import dataclasses
import io
import os
import pathlib
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.atomic import replacing_folder, surviving_folder
from fetal_jax.types import DatasetFacts, UserError
from input_pipeline import builders
from input_pipeline.builders.common import SPLIT
from input_pipeline.transforms import Geometry


@dataclasses.dataclass(frozen=True)
class Record:
    """One decoded example in its own geometry."""

    name: str
    subject: str
    image: np.ndarray  # uint8 [h w c]
    labels: np.ndarray  # uint8 [h w], ids of the dataset's selected classes
    labelled: bool
    spacing_mm: np.ndarray  # float32 [2]: row, column; 0 is unknown


def default_data_dir() -> pathlib.Path:
    """Where prepared data lives: $FETAL_JAX_DATA, else ~/.cache/fetal_jax."""
    return pathlib.Path(os.environ.get("FETAL_JAX_DATA") or pathlib.Path.home() / ".cache" / "fetal_jax")


def prepare(
    dataset: str, data_dir: pathlib.Path, source: str | None = None, *, overwrite: bool = False
) -> tfds.core.DatasetBuilder:
    """Writes the dataset under `data_dir` unless it is there already. `source` is the user's folder of raw files.

    With `overwrite` it is written anew; the old one goes only when the new one is whole.
    Raises UserError if the dataset is unknown, or needs raw files and they are missing or wrong.
    """
    path = pathlib.Path(builders.builder(dataset, str(data_dir)).data_dir)
    if surviving_folder(path) != path:
        surviving_folder(path).rename(path)
    if path.exists() and not overwrite:
        if source is not None:
            print(f"{dataset} is prepared already in {path}: --overwrite does it again", file=sys.stderr)
        return builders.builder(dataset, str(data_dir))
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    settings = {"source": source} if source is not None else {}
    data_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=data_dir, prefix=".preparing-") as scratch:
        builder = builders.builder(dataset, scratch, **settings)
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS talks of downloads, and there are none
            builder.download_and_prepare()
        with replacing_folder(path) as partial:
            os.replace(builder.data_dir, partial)
    return builders.builder(dataset, str(data_dir))


def describe_all(data_dir: pathlib.Path) -> list[str]:
    """A line a dataset and config: its name, and how many images are prepared under `data_dir`."""
    lines = []
    for dataset in builders.all_names():
        builder = builders.builder(dataset, str(data_dir))
        number = builder.info.splits[SPLIT].num_examples if builder.data_path.exists() else None
        state = "not prepared" if number is None else f"{number} images"
        lines.append(f"{dataset:32} {state:16} {builders.facts(dataset).title}")
    return lines


class Dataset:
    """The examples of a prepared dataset, by name."""

    def __init__(self, dataset: str, data_dir: pathlib.Path, structures: Sequence[str] = ()):
        """Opens it; a synthetic one is made first. `structures` selects foreground classes, all if empty.

        Raises UserError if the dataset is unknown or not prepared, or a structure is none of its classes.
        """
        self.name = dataset
        self.facts, self._new_id = select(builders.facts(dataset, data_dir), structures)
        builder = prepare(dataset, data_dir)
        self.version = f"{dataset}:{builder.version}"
        self._examples = builder.as_data_source(split=SPLIT)
        skip = {key: tfds.decode.SkipDecoding() for key in ("image", "labels")}
        headers = builder.as_data_source(split=SPLIT, decoders=skip)
        self._index: dict[str, int] = {}
        self.subjects: dict[str, str] = {}
        self.labelled: dict[str, bool] = {}
        for i, header in enumerate(headers):
            name = header["name"].decode()
            self._index[name] = i
            self.subjects[name] = header["subject"].decode()
            self.labelled[name] = bool(header["labelled"])

    @property
    def names(self) -> list[str]:
        return list(self._index)

    def __getitem__(self, name: str) -> Record:
        example: Mapping[str, Any] = self._examples[self._index[name]]
        return Record(
            name=name,
            subject=self.subjects[name],
            image=example["image"],
            labels=self._new_id[example["labels"][..., 0]],
            labelled=self.labelled[name],
            spacing_mm=example["spacing_mm"],
        )

    def records(self, names: Sequence[str]) -> Iterator[Record]:
        """The named examples, one by one, each once."""
        return (self[name] for name in names)


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
    """A random-access source of the named images at network size: image, labels, weights.

    Items are cached in uint8 as they are first read; 1,000 images of 256x256 take about 200 MB.
    """

    def __init__(self, dataset: Dataset, names: Sequence[str], size: int):
        self._dataset, self._names, self._size = dataset, list(names), size
        self._cache: dict[int, tuple[np.ndarray, np.ndarray, Geometry]] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._names)

    def __repr__(self) -> str:  # grain prints sources in its errors
        return f"NetImages({self._dataset.name}, {len(self)} images, size {self._size})"

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        # One decoder at a time: two threads asking for one image must not decode it twice.
        with self._lock:
            if i not in self._cache:
                record = self._dataset[self._names[i]]
                geometry = Geometry.fit(record.image.shape[:2], self._size)
                image, labels = geometry.image_to_net(record.image), geometry.labels_to_net(record.labels)
                self._cache[i] = image, labels, geometry
        image, labels, geometry = self._cache[i]
        return {"image": image, "labels": labels, "weights": geometry.weights()}
