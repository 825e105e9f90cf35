"""The TFDS builder of infant and fetal brain volumes. Its facts are kept in the TFDS metadata, beside the records."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.core.types import DatasetFacts
from input_pipeline.builders import common
from input_pipeline.builders.infant_mri.folders import TISSUES
from input_pipeline.builders.infant_mri.scan import MODALITIES
from input_pipeline.builders.infant_mri.source import Item, decode, read_source

FACTS = DatasetFacts(
    name="infant_mri",
    title="your own T1w and T2w volumes of the infant or fetal brain",
    classes=TISSUES.names,
    colours=TISSUES.colours,
    subject_rule="the folder in the folder of the age",
    licence="yours",
    citation="",
    channels=len(MODALITIES),
    dims=3,
    spacing="of the NIfTI header",
)


class InfantMri(common.SourceBuilder):
    """Volumes from the user's folder, in one of three layouts."""

    FACTS = FACTS
    FACTS_DEPEND_ON_SOURCE = True
    SOURCE = "the folder of the ages, of a BIDS dataset or of the fetal atlas"
    BUILDER_CONFIGS: ClassVar = [
        common.Config(name="all", options={"modality": "all"}),
        *(common.Config(name=name.lower(), options={"modality": name.lower()}) for name in MODALITIES),
    ]
    EXTRA: ClassVar = {
        "age": np.float32,
        "age_unit": tfds.features.Text(),
        "modalities": tfds.features.Text(),
        "affine": tfds.features.Tensor(shape=(4, 4), dtype=np.float32),
    }

    def make_features(self) -> tfds.features.FeaturesDict:
        return common.volume_features(None, **self.EXTRA)  # as many channels as the source has modalities

    def read(self, source: Path) -> common.SourceReport:
        chosen = {name.lower(): name for name in MODALITIES}
        return read_source(source, self.FACTS, chosen.get(self.builder_config.name, ""))

    def examples(self, items: list[Item]) -> Iterator[dict[str, Any]]:
        for item in items:
            decoded, scan = decode(item), item.scan
            yield {
                "image": decoded.image,
                "labels": decoded.labels,
                "labelled": scan.labels is not None,
                "spacing_mm": decoded.first.spacing_mm,
                "group": scan.age.group,
                "subject": scan.subject,
                "name": scan.name,
                "age": np.float32(scan.age.value),
                "age_unit": scan.age.unit,
                "modalities": ",".join(item.modalities),
                "affine": decoded.first.affine.astype(np.float32),
            }
