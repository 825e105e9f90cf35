"""The TFDS builder of FETAL_PLANES_DB."""

import dataclasses

import numpy as np
import tensorflow_datasets as tfds

from fetal_jax.types import DatasetFacts, UserError
from input_pipeline.builders import common
from input_pipeline.builders.fetal_planes.source import Plane, read_mask, read_source
from input_pipeline.images import read_grey

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
)


@dataclasses.dataclass
class PlaneConfig(tfds.core.BuilderConfig):
    """Which planes, as the table names them."""

    planes: tuple[str, ...] = ()


class FetalPlanes(tfds.core.GeneratorBasedBuilder):
    """FETAL_PLANES_DB from `source`, the user's folder of published files; read only when there is data to prepare."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First version."}  # noqa: RUF012 (TFDS reads a plain dict)
    BUILDER_CONFIGS = [  # noqa: RUF012 (TFDS reads a plain list)
        PlaneConfig(name="trans_cerebellum", planes=("Trans-cerebellum",)),
        PlaneConfig(name="trans_thalamic", planes=("Trans-thalamic",)),
        PlaneConfig(name="trans_ventricular", planes=("Trans-ventricular",)),
        PlaneConfig(name="brain", planes=("Trans-cerebellum", "Trans-thalamic", "Trans-ventricular")),
    ]

    def __init__(self, *, source: str | None = None, **kwargs):
        super().__init__(**kwargs)
        self._source = source
        self._planes: list[Plane] = []

    def download_and_prepare(self, **kwargs) -> None:
        """Checks every file, then writes; nothing is downloaded. Data that is already prepared stays as it is.

        Raises UserError, before anything is written, if `source` is missing or one of its files is wrong.
        """
        if not self.data_path.exists():
            if self._source is None:
                name = f"fetal_planes/{self.builder_config.name}"
                raise UserError(
                    f"{name} is not prepared: run fetal-jax data prepare {name} --source DIR, the folder of its files"
                )
            self._planes = read_source(self._source, self.builder_config.planes)
        super().download_and_prepare(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        return tfds.core.DatasetInfo(
            builder=self,
            description=FACTS.title,
            citation=FACTS.citation,
            features=common.features(plane=text, operator=text, machine=text),
        )

    def _split_generators(self, dl_manager):
        return {common.SPLIT: self._generate_examples()}

    def _generate_examples(self):
        for plane in self._planes:
            image = read_grey(plane.path)
            labels = np.zeros_like(image) if plane.mask is None else read_mask(plane.mask)
            yield (
                plane.name,
                {
                    "image": common.encode_png(image),
                    "labels": common.encode_png(labels),
                    "labelled": plane.mask is not None,
                    "spacing_mm": np.zeros(2, np.float32),  # images were cut and resized before publication
                    "subject": plane.patient,
                    "name": plane.name,
                    "plane": plane.plane,
                    "operator": plane.operator,
                    "machine": plane.machine,
                },
            )
