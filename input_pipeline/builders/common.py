"""Shared by all builders: the features of an example, its encoding, and the base class that reads a user's folder."""

import abc
import dataclasses
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import cv2
import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.core.json_files import KEY, without_format
from fetal_jax.core.types import DatasetFacts, UserError

SHOWN = 5  # problems in one message
FORMAT = 1  # of the metadata beside the records
SPLIT = "images"  # the only TFDS split; training, validation and test are assigned in input_pipeline.split_assignment


@dataclasses.dataclass
class Config(tfds.core.BuilderConfig):
    """A variant of a dataset.

    Attributes:
      options: its keys and values in `name:key=value`, e.g. {"plane": "trans-cerebellum"}.
      facts: its own facts; None: those of the dataset.
    """

    options: dict[str, str] = dataclasses.field(default_factory=dict)
    facts: DatasetFacts | None = None


@dataclasses.dataclass
class SourceReport:
    """The content of a user's folder, once every file is checked.

    Attributes:
      items: the good ones, in the order of their names.
      problems: one text for each bad file, naming it.
      notes: for the user, about the good ones; printed and kept beside the records.
      remedy: what to do about the problems.
      facts: those of this folder, where they depend on it.
    """

    items: list[Any]
    problems: list[str]
    notes: list[str] = dataclasses.field(default_factory=list)
    remedy: str = "correct or remove these files"
    facts: DatasetFacts | None = None


def features(**extra) -> tfds.features.FeaturesDict:
    """The features of an image, which every dataset has, and the dataset's own `extra` ones."""
    png = tfds.features.Image(shape=(None, None, 1), dtype=np.uint8, encoding_format="png")
    return tfds.features.FeaturesDict({"image": png, "labels": png, **_shared_features(2), **extra})


def volume_features(channels: int | None, **extra) -> tfds.features.FeaturesDict:
    """The features of a volume: `channels` modalities of 16-bit intensities, and a `group`, e.g. an age.

    With None, records have as many channels as the source has modalities.
    """
    image = tfds.features.Tensor(shape=(None, None, None, channels), dtype=np.uint16, encoding="zlib")
    labels = tfds.features.Tensor(shape=(None, None, None), dtype=np.uint8, encoding="zlib")
    group = tfds.features.Text()
    return tfds.features.FeaturesDict(
        {"image": image, "labels": labels, "group": group, **_shared_features(3), **extra}
    )


def check_words(**words: str) -> None:
    """Raises UserError for a name or subject with a control character, such as a line break."""
    for key, word in words.items():
        if not word.isprintable():
            raise UserError(f"the {key} {word!r} has a character that cannot be printed: rename it")


def _shared_features(dims: int) -> dict[str, Any]:
    """The features of images and volumes alike; `dims` is the number of axes that have a spacing."""
    return {
        "labelled": np.bool_,  # False: `labels` is all background and means nothing
        "spacing_mm": tfds.features.Tensor(shape=(dims,), dtype=np.float32),  # by axis; 0 is unknown
        "subject": tfds.features.Text(),
        "name": tfds.features.Text(),
    }


def encode_png(array: np.ndarray) -> bytes:
    """PNG bytes of a uint8 array [h w] or [h w 1]. TFDS stores bytes unchanged, so TensorFlow is never needed."""
    done, data = cv2.imencode(".png", array)
    if not done:
        raise ValueError(f"cannot encode an array of shape {array.shape} and type {array.dtype} as PNG")
    return data.tobytes()


def refuse(source: Path, problems: Sequence[str], remedy: str) -> None:
    """Raises UserError if there are problems: one line that names the first ones and counts the others."""
    if problems:
        more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise UserError(f"{source}: {'; '.join(problems[:SHOWN])}{more}: {remedy}")


class SourceBuilder(  # type: ignore[call-arg]  # TFDS has no types, so mypy does not know its keyword
    tfds.core.GeneratorBasedBuilder, skip_registration=True
):
    """A dataset that is read from `source`, the user's folder, when it is prepared.

    A subclass implements `read` and `examples`; every file is checked before anything is written.
    """

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar = {"1.0.0": "First version."}
    FACTS: ClassVar[DatasetFacts]
    FACTS_DEPEND_ON_SOURCE: ClassVar = False
    SOURCE: ClassVar = "the folder of its files"
    EXTRA: ClassVar[dict[str, Any]] = {}

    def __init__(self, *, source: str | None = None, keep_going: bool = False, **kwargs):
        """With `keep_going` bad files are listed and the others prepared."""
        super().__init__(**kwargs)
        self._source, self._keep_going = source, keep_going
        self._report: SourceReport | None = None

    @abc.abstractmethod
    def read(self, source: Path) -> SourceReport:
        """Checks every file. Raises UserError if `source` does not have the dataset's layout."""

    @abc.abstractmethod
    def examples(self, items: list[Any]) -> Iterator[dict[str, Any]]:
        """The features of each item; `image` and `labels` of an image as arrays [h w] or as PNG bytes."""

    def make_features(self) -> tfds.features.FeaturesDict:
        return features(**self.EXTRA)

    def download_and_prepare(self, **kwargs) -> None:
        """Checks every file, then writes. Data that is already prepared is left unchanged.

        Raises UserError, before anything is written, if `source` is missing or one of its files is wrong.
        """
        if not self.data_path.exists():
            if self._source is None:
                raise UserError(not_prepared(self.info.full_name.rpartition("/")[0], self.SOURCE))
            self._report = self._checked(Path(self._source))
        super().download_and_prepare(**kwargs)

    def _checked(self, source: Path) -> SourceReport:
        report = self.read(source)
        if not (self._keep_going and report.items):
            refuse(source, report.problems, report.remedy)
        if not report.items:
            raise UserError(f"{source}: has no image for {self.name}: expected {self.SOURCE}")
        for line in [*(f"left out: {problem}" for problem in report.problems), *report.notes]:
            print(line, file=sys.stderr)
        return report

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.FACTS.title,
            citation=self.FACTS.citation,
            features=self.make_features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        report = self._report
        assert report is not None, "download_and_prepare reads the source first"
        assert self._source is not None
        source = str(Path(self._source).absolute())
        metadata = {KEY: FORMAT, "source": source, "notes": report.notes, "left_out": report.problems}
        self.info.metadata.update(metadata)
        if report.facts is not None:
            self.info.metadata.update(facts=dataclasses.asdict(report.facts))
        return {SPLIT: self._generate_examples(report.items)}

    def _generate_examples(self, items: list[Any]):
        for example in self.examples(items):
            check_words(name=example["name"], subject=example["subject"], group=example.get("group", ""))
            yield example["name"], encoded(example)


def encoded(example: dict[str, Any]) -> dict[str, Any]:
    """The example with images [h w] as PNG bytes; volumes, and what is encoded already, are left unchanged."""
    arrays = {key: example[key] for key in ("image", "labels") if not isinstance(example[key], bytes)}
    return example | {key: encode_png(array) for key, array in arrays.items() if array.ndim == 2}


def read_metadata(builder: tfds.core.DatasetBuilder) -> dict[str, Any]:
    """The metadata beside the records of a prepared dataset. Raises UserError if it is of a newer format."""
    origin = str(builder.data_path / "metadata.json")
    return without_format(builder.info.metadata or {}, origin=origin, format=FORMAT, what="metadata of a dataset")


def stored_facts(metadata: dict[str, Any]) -> DatasetFacts | None:
    """The facts in the metadata beside the records, if there are any."""
    if "facts" not in metadata:
        return None
    known = {field.name for field in dataclasses.fields(DatasetFacts)}
    facts = {key: value for key, value in metadata["facts"].items() if key in known}  # another version may know more
    return DatasetFacts(**facts | {"classes": tuple(facts["classes"]), "colours": tuple(map(tuple, facts["colours"]))})


def not_prepared(dataset: str, source: str) -> str:
    return f"{dataset} is not prepared: run fetal-jax data prepare {dataset} --source DIR, {source}"
