"""The TFDS builder of HC18."""

from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.types import DatasetFacts, UserError
from input_pipeline.builders import common
from input_pipeline.builders.hc18.source import Head, read_source
from input_pipeline.images import read_grey

FACTS = DatasetFacts(
    name="hc18",
    title="HC18: fetal head circumference in 2D ultrasound",
    classes=("background", "head"),
    colours=((0, 0, 0), (230, 159, 0)),
    subject_rule="the first three digits of the name: 010_HC and 010_2HC are subject 010",
    licence="CC BY 4.0",
    citation=(
        "van den Heuvel TLA, de Bruijn D, de Korte CL, van Ginneken B. Automated measurement of fetal head "
        "circumference using 2D ultrasound images. PLoS ONE 13(8): e0200412, 2018. doi:10.5281/zenodo.1322001"
    ),
)


class Hc18(tfds.core.GeneratorBasedBuilder):
    """HC18 from `source`, the user's folder of published files; it is read only when there is data to
    prepare."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS reads a plain dict)

    def __init__(self, *, source: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self._source = source
        self._heads: list[Head] = []

    def download_and_prepare(self, **kwargs) -> None:
        """Checks every file, then writes; nothing is downloaded. Data that is already prepared stays as it
        is.

        Raises UserError, before anything is written, if `source` is missing or one of its files is wrong.
        """
        if not self.data_path.exists():
            if self._source is None:
                raise UserError(
                    "hc18 is not prepared: run fetal-jax data prepare hc18 --source DIR with the folder of its files"
                )
            self._heads = read_source(self._source)
        super().download_and_prepare(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=FACTS.title,
            citation=FACTS.citation,
            features=common.features(hc_mm=np.float32),
        )

    def _split_generators(self, dl_manager):
        return {common.SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for head in self._heads:
            yield (
                head.name,
                {
                    "image": _grey_png(head.path),
                    "labels": common.encode_png(head.ellipse.fill(head.shape)),
                    "labelled": True,
                    "spacing_mm": np.full(2, head.pixel_size_mm, np.float32),
                    "subject": head.subject,
                    "name": head.name,
                    "hc_mm": np.float32(head.hc_mm),
                },
            )


def _grey_png(path: Path) -> bytes:
    """The file as it is if it is 8-bit grey, else its grey levels."""
    data = path.read_bytes()
    bit_depth, colour_type = data[24], data[25]  # of the IHDR chunk, always first
    return data if (bit_depth, colour_type) == (8, 0) else common.encode_png(read_grey(path))
