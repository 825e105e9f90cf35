"""The TFDS builder of the Large Fetal Head Biometry dataset."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fetal_jax.core.types import DatasetFacts
from input_pipeline.builders import common
from input_pipeline.builders.fetal_head_biometry.layout import PLANES
from input_pipeline.builders.fetal_head_biometry.masks import CLASSES
from input_pipeline.builders.fetal_head_biometry.source import Head, read_labels, read_source
from input_pipeline.formats.raster import read_grey

FACTS = DatasetFacts(
    name="fetal_head_biometry",
    title="Large Fetal Head Biometry: brain, CSP and lateral ventricle in 2D ultrasound",
    classes=CLASSES,
    colours=((0, 0, 0), (213, 94, 0), (0, 158, 115), (0, 114, 178)),
    subject_rule="the number after Patient in the file's name, or the three digits that it starts with",
    licence="CC BY 4.0",
    citation=(
        "Alzubaidi M, Agus M, Makhlouf M, Anver F, Alyafei K, Househ M. Large-scale annotation dataset for fetal head "
        "biometry in ultrasound images. Data in Brief 51: 109708, 2023. doi:10.5281/zenodo.8265464"
    ),
    spacing="unknown: the published sizes do not say to which copy of an image they belong",
)
CSP_FACTS = dataclasses.replace(
    FACTS,
    title="Large Fetal Head Biometry: brain and CSP in 2D ultrasound, lateral ventricles counted as brain",
    classes=CLASSES[:3],
    colours=FACTS.colours[:3],
)
BRAIN, LV = CLASSES.index("brain"), CLASSES.index("lv")


@dataclasses.dataclass
class HeadConfig(common.Config):
    """Configures the plane, and whether lateral ventricles are a class of their own or brain."""

    plane: str = PLANES[0]
    has_lv: bool = True


def _configs(plane: str) -> list[HeadConfig]:
    name = plane.replace("-", "_")
    both = HeadConfig(name=name, options={"plane": plane, "variant": "csp_lv"}, facts=FACTS, plane=plane)
    options = {"plane": plane, "variant": "csp"}
    return [both, HeadConfig(name=f"{name}_csp", options=options, facts=CSP_FACTS, plane=plane, has_lv=False)]


class FetalHeadBiometry(common.SourceBuilder):
    """Large Fetal Head Biometry from the user's folder of published files."""

    FACTS = FACTS
    BUILDER_CONFIGS: ClassVar = [config for plane in PLANES for config in _configs(plane)]
    EXTRA: ClassVar = {"repaired_pixels": np.int32, "published_pixel_mm": np.float32}

    def read(self, source: Path) -> common.SourceReport:
        return read_source(source, self.builder_config.plane)

    def examples(self, items: list[Head]) -> Iterator[dict[str, Any]]:
        for head in items:
            labels = read_labels(head)
            if not self.builder_config.has_lv:
                labels = np.where(labels == LV, np.uint8(BRAIN), labels)
            yield {
                "image": read_grey(head.image),
                "labels": labels,
                "labelled": True,
                "spacing_mm": np.zeros(
                    2, np.float32
                ),  # the published sizes do not say to which copy of the image they belong
                "subject": head.subject,
                "name": head.name,
                "repaired_pixels": np.int32(head.repaired_pixels),
                "published_pixel_mm": np.float32(head.published_pixel_mm),
            }
