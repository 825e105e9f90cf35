"""The TFDS builder of the user's own folder. Its facts lie beside its records, as TFDS metadata."""

import os

import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.types import DatasetFacts, UserError
from input_pipeline.builders import common
from input_pipeline.builders.folder.source import Collection, read_frames, read_source

FACTS = DatasetFacts(
    name="folder",
    title="your own images and masks",
    classes=("background", "foreground"),
    colours=((0, 0, 0), (230, 159, 0)),
    subject_rule="the name up to the first underscore",
    licence="yours",
    citation="",
)
NOT_PREPARED = (
    "folder is not prepared: run fetal-jax data prepare folder --source DIR, the folder of images/ and masks/"
)


class Folder(tfds.core.GeneratorBasedBuilder):
    """Images and masks from `source`, the user's folder; it is read only when there is data to prepare."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS reads a plain dict)

    def __init__(self, *, source: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self._source = source
        self._collection: Collection | None = None

    def download_and_prepare(self, **kwargs) -> None:
        """Checks every file, then writes; nothing is downloaded. Data that is already prepared stays as it is.

        Raises UserError, before anything is written, if `source` is missing or one of its files is wrong.
        """
        if not self.data_path.exists():
            if self._source is None:
                raise UserError(NOT_PREPARED)
            self._collection = read_source(self._source)
        super().download_and_prepare(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=FACTS.title,
            features=common.features(),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        collection = self._collection
        self.info.metadata.update(
            classes=collection.classes, colours=collection.colours, subject_rule=collection.settings.subject_rule
        )
        return {common.SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for item in self._collection.items:
            for frame in read_frames(item, self._collection.settings):
                yield (
                    frame.name,
                    {
                        "image": common.encode_png(frame.image),
                        "labels": common.encode_png(frame.labels),
                        "labelled": item.mask is not None,
                        "spacing_mm": np.array(frame.spacing_mm, np.float32),
                        "subject": item.subject,
                        "name": frame.name,
                    },
                )


def facts(data_dir: str | os.PathLike) -> DatasetFacts:
    """The facts of the folder that is prepared under `data_dir`. Raises UserError if there is none."""
    builder = Folder(data_dir=str(data_dir), file_format="array_record")
    if not builder.data_path.exists():
        raise UserError(NOT_PREPARED)
    known = builder.info.metadata
    return DatasetFacts(
        name=FACTS.name,
        title=FACTS.title,
        classes=tuple(known["classes"]),
        colours=tuple(tuple(colour) for colour in known["colours"]),
        subject_rule=known["subject_rule"],
        licence=FACTS.licence,
        citation=FACTS.citation,
    )
