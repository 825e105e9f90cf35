"""Images with known masks, a network that says what stands in the image, and an experiment around them."""

import dataclasses

import numpy as np

from fetal_jax.core.types import DatasetFacts, Variables
from fetal_jax.evaluation.evaluator import Anatomy, evaluate_records
from fetal_jax.evaluation.scores import EvaluationData
from fetal_jax.inference.segmenter import InferenceConfig, Segmenter
from input_pipeline.dataset import Record
from input_pipeline.splits import PARTS


def record(name, labels, answer=None, *, subject="", spacing_mm=0.0, **about):
    """A labelled image that shows the network's `answer`, by default the right one; its subject is `S0` of `S0_a`."""
    labels = np.array(labels, np.uint8)
    image = (labels if answer is None else np.array(answer, np.uint8))[..., None]
    spacing = np.broadcast_to(np.float32(spacing_mm), labels.ndim)
    return Record(name, subject or name.split("_")[0], image, labels, True, spacing, about)


def says(num_classes, sure=1.0):
    """A network that says what stands in the image, with that probability."""
    rows = np.full((num_classes, num_classes), (1 - sure) / (num_classes - 1), np.float32)
    np.fill_diagonal(rows, sure)
    return lambda images: (rows[image[..., 0]] for image in images)


def facts(classes, dims=2):
    colours = tuple((40 * i, 0, 0) for i in range(len(classes)))
    return DatasetFacts("planted", "Planted", tuple(classes), colours, "none", "CC0", "", dims=dims)


def segmenter(classes, size, predict=None):
    """Its images are grey, `size` pixels square, and in them stands what it says; else `predict` answers."""

    def read(variables, images):
        return np.eye(len(classes), dtype=np.float32)[np.rint(images[..., 0] * 255).astype(int)]

    model = {"name": "plain_unet", "num_classes": len(classes), "width": 4, "depth": 1}
    config = InferenceConfig(model, size, 0, facts(classes), "0" * 64, "supervised")
    return Segmenter(config, Variables({}, {}), predict=predict or read)


class Kept:
    """A dataset in memory."""

    name = "planted"

    def __init__(self, records):
        self._records = {each.name: each for each in records}
        self.subjects = {each.name: each.subject for each in records}

    def __getitem__(self, name):
        return self._records[name]

    def records(self, names):
        return (self[name] for name in names)


def dataset(classes, dims=2, **parts):
    """The data of a run: the records of each part by its name."""
    records = [each for of_part in parts.values() for each in of_part]
    names = {part: tuple(each.name for each in parts.get(part, ())) for part in PARTS}
    return EvaluationData(Kept(records), names, facts(classes, dims))


def evaluated(names, about=None, statistics=None, **anatomies):
    """Images of one pixel, but with these `sizes` or `features` (of predictions, of references) and `statistics`."""
    known = about or [{}] * len(names)
    images = [record(name, [[1]], **facts) for name, facts in zip(names, known, strict=True)]
    made = evaluate_records(says(2), images, ("background", "head"))
    empty = {"sizes": {}, "structures": (), "features": {}, "head_mm": None}
    for key, sides in anatomies.items():
        both = (tuple(Anatomy(**empty | {key: row}) for row in rows) for rows in sides)
        made = dataclasses.replace(made, **dict(zip(("predicted", "reference"), both, strict=True)))
    return made if statistics is None else dataclasses.replace(made, image_statistics=tuple(statistics))
