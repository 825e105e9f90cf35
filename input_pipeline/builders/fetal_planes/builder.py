"""The TFDS builder of FETAL_PLANES_DB."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.core.types import DatasetFacts
from input_pipeline.builders import common
from input_pipeline.builders.fetal_planes.source import Plane, read_mask, read_source
from input_pipeline.formats.raster import read_grey

PLANES = ("Trans-cerebellum", "Trans-thalamic", "Trans-ventricular")
FACTS = DatasetFacts(
    name="fetal_planes",
    title="FETAL_PLANES_DB: planes of the fetal brain in 2D ultrasound",
    classes=("background", "cerebellum"),
    colours=((0, 0, 0), (0, 158, 115)),
    subject_rule="the patient's number in the table",
    licence="CC BY 4.0",
    citation=(
        "Burgos-Artizzu XP, Coronado-Gutierrez D, Valenzuela-Alcaraz B, et al. Evaluation of deep convolutional neural "
        "networks for automatic classification of common maternal fetal ultrasound planes. Scientific Reports 10: "
        "10200, 2020. doi:10.5281/zenodo.3904280"
    ),
    spacing="unknown: images were cut and resized before publication",
)


@dataclasses.dataclass
class PlaneConfig(common.Config):
    """Configures which planes are read, as the table names them."""

    planes: tuple[str, ...] = ()


def _plane(name: str) -> PlaneConfig:
    return PlaneConfig(name=name.lower().replace("-", "_"), options={"plane": name.lower()}, planes=(name,))


class FetalPlanes(common.SourceBuilder):
    """FETAL_PLANES_DB from the user's folder of published files."""

    FACTS = FACTS
    BUILDER_CONFIGS: ClassVar = [
        *(_plane(name) for name in PLANES),
        PlaneConfig(name="brain", options={"plane": "brain"}, planes=PLANES),
    ]
    EXTRA: ClassVar = {key: tfds.features.Text() for key in ("plane", "operator", "machine")}

    def read(self, source: Path) -> common.SourceReport:
        return read_source(source, self.builder_config.planes)

    def examples(self, items: list[Plane]) -> Iterator[dict[str, Any]]:
        for plane in items:
            image = read_grey(plane.path)
            yield {
                "image": image,
                "labels": np.zeros_like(image) if plane.mask is None else read_mask(plane.mask),
                "labelled": plane.mask is not None,
                "spacing_mm": np.zeros(2, np.float32),  # images were cut and resized before publication
                "subject": plane.patient,
                "name": plane.name,
                "plane": plane.plane,
                "operator": plane.operator,
                "machine": plane.machine,
            }
