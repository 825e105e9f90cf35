"""The images of a report: test images, pseudo-labels kept and dropped, and what the network looked at."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from fetal_jax.core.types import Variables
from fetal_jax.evaluation.explain import Concentration, heat
from fetal_jax.evaluation.explain.explanations import Explainer
from fetal_jax.evaluation.protocol import LabellingResult
from fetal_jax.evaluation.scores import EvaluationData, Scored
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.reporting.base import Explanation, GalleryImage
from fetal_jax.training.pseudo_labels import KEPT
from input_pipeline.dataset import Record

CONCENTRATION = (
    "concentration: the share of Grad-CAM inside the structure, over the structure's share of the image; a map that "
    "knows nothing has 1."
)


@runtime_checkable
class Pool(Protocol):
    """Unlabelled items: see input_pipeline.dataset.NetImages and input_pipeline.patch_stream.Volumes."""

    def picture(self, i: int, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]: ...


N_IMAGES = 3  # of the best, the median and the worst images, and of kept and dropped pseudo-labels


def ranked(scored: Scored) -> list[int]:
    """The images that have a Dice, worst first."""
    dice = scored.dice()
    return [int(i) for i in np.argsort(dice, kind="stable") if not np.isnan(dice[i])]


def test_gallery(data: EvaluationData, segmenter: Segmenter, scored: Scored) -> tuple[GalleryImage, ...]:
    """The worst, median and best test images, as the final network segments them."""
    order, dice = ranked(scored), scored.dice()
    number = N_IMAGES if data.dims == 2 else 1  # the inferer of a volume runs dozens of patches
    middle = max(0, len(order) // 2 - number // 2)
    selected = {"worst": order[:number], "median": order[middle:][:number], "best": order[::-1][:number]}
    images = []
    for title, indices in selected.items():
        for i in indices:
            record = data.dataset[scored.names[i]]
            prediction = dataclasses.replace(record, labels=segmenter(record.image).labels).picture_labels()
            pictures = record.picture(), record.picture_labels(), prediction
            images.append(GalleryImage(title, record.name, record.subject, float(dice[i]), *pictures))
    return tuple(images)


def pseudo_label_gallery(
    labelling: LabellingResult, pool: Pool, labels: Sequence[np.ndarray]
) -> tuple[GalleryImage, ...]:
    """Some kept and some dropped pseudo-labels of a labelling, as the training has them."""
    kept = [i for i, image in enumerate(labelling.images) if image.kept]
    dropped = [i for i, image in enumerate(labelling.images) if not image.kept]
    images = []
    for i in [*kept[:N_IMAGES], *dropped[:N_IMAGES]]:
        about, (picture, drawn) = labelling.images[i], pool.picture(i, labels[i])
        title = KEPT if about.kept else about.reason
        images.append(GalleryImage(title, about.name, about.subject, None, picture, None, drawn))
    return tuple(images)


def explanations(
    data: EvaluationData, segmenter: Segmenter, variables: Variables, scored: Scored, number: int
) -> tuple[Explanation, ...]:
    """What decided in the worst test images. None for networks of volumes."""
    if not number or not data.has_anatomy:
        return ()
    explain = Explainer(segmenter.config, variables)
    return tuple(_explained(data.dataset[scored.names[i]], segmenter, explain) for i in ranked(scored)[:number])


def _explained(record: Record, segmenter: Segmenter, explain: Explainer) -> Explanation:
    """Maps of the structure that the network gives most pixels to, coloured on the image."""
    found = explain(record.image, record.labels)
    titles = {"grad_cam": f"Grad-CAM, {found.layer}", "guided_grad_cam": "Guided Grad-CAM", "occlusion": "Occlusion"}
    return Explanation(
        name=record.name,
        subject=record.subject,
        structure=segmenter.config.facts.classes[found.class_id],
        image=record.picture(),
        labels=record.labels,
        prediction=segmenter(record.image).labels,
        maps={({name: name} | titles)[name]: heat(record.picture(), saliency) for name, saliency in found.maps.items()},
        notes=[*found.notes, CONCENTRATION],
        concentration=_lift(({"grad_cam": None} | found.concentration)["grad_cam"]),
    )


def _lift(concentration: Concentration | None) -> float | None:
    return None if concentration is None or math.isnan(concentration.lift) else concentration.lift
