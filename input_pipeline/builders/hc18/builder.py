"""The TFDS builder of HC18."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fetal_jax.core.types import DatasetFacts
from input_pipeline.builders import common
from input_pipeline.builders.hc18.source import OFFICIAL_TEST, TRAINING, Head, Part, read_source
from input_pipeline.formats.raster import read_grey

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
    spacing="the published pixel size of each image",
)
OFFICIAL_TEST_FACTS = dataclasses.replace(
    FACTS,
    title="HC18: the official test set, without labels",
    subject_rule="test_ and the first three digits of the name: they number other people than the training set's",
)


@dataclasses.dataclass
class Hc18Config(common.Config):
    """Configures which of the two published sets is read."""

    part: Part = TRAINING


class Hc18(common.SourceBuilder):
    """HC18 from the user's folder of published files."""

    FACTS = FACTS
    BUILDER_CONFIGS: ClassVar = [
        Hc18Config(name="training", options={"part": "training"}),
        Hc18Config(
            name="official_test", options={"part": "official-test"}, facts=OFFICIAL_TEST_FACTS, part=OFFICIAL_TEST
        ),
    ]
    EXTRA: ClassVar = {"hc_mm": np.float32}

    def read(self, source: Path) -> common.SourceReport:
        return read_source(source, self.builder_config.part)

    def examples(self, items: list[Head]) -> Iterator[dict[str, Any]]:
        for head in items:
            yield {
                "image": _grey_png(head.path),
                "labels": head.ellipse.fill(head.shape) if head.ellipse else np.zeros(head.shape, np.uint8),
                "labelled": head.ellipse is not None,
                "spacing_mm": np.full(2, head.pixel_size_mm, np.float32),
                "subject": head.subject,
                "name": head.name,
                "hc_mm": np.float32(head.hc_mm),
            }


def _grey_png(path: Path) -> bytes:
    """The bytes of the file if it is 8-bit grey, else its grey levels encoded anew."""
    data = path.read_bytes()
    bit_depth, colour_type = data[24], data[25]  # of the IHDR chunk, always first
    return data if (bit_depth, colour_type) == (8, 0) else common.encode_png(read_grey(path))
