"""Heads in both planes, measured on their exact labels: no image has to be made for that."""

import dataclasses

import numpy as np
import pytest

from fetal_jax.anomaly.features import describe
from input_pipeline.builders.fetal_phantom import anatomy, scan

HEIGHT, WIDTH = 160, 200


@dataclasses.dataclass(frozen=True)
class Measured:
    vector: dict[str, float]
    age: float
    subject: str
    plane: str


def measured(seed, anomaly="none"):
    """A subject: two views of each plane."""
    rng = np.random.default_rng((7, seed))
    head = anatomy.sample_head(rng, anomaly)
    images = []
    for plane in anatomy.PLANES * 2:
        view = scan.sample_view(head, HEIGHT, WIDTH, rng)
        labels = scan.labels(head, plane, view, HEIGHT, WIDTH)
        vector = describe(labels, anatomy.CLASSES, (view.spacing_mm, view.spacing_mm))
        images.append(Measured(vector, head.ga_weeks, f"{anomaly}{seed}", plane))
    return images


@pytest.fixture(scope="session")
def normals():
    return [image for seed in range(16) for image in measured(seed)]


@pytest.fixture(scope="session")
def unseen():
    """Subjects of no fit: their images by kind of anomaly."""
    kinds = ("none", *anatomy.ANOMALIES)
    return {kind: [measured(seed, kind) for seed in range(100, 105)] for kind in kinds}


@pytest.fixture
def columns():
    """The arguments of NormativeModel.fit, of images."""
    return lambda images: list(zip(*map(dataclasses.astuple, images), strict=True))
