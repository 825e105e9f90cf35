"""The pictures of a report: test images, pseudo-labels kept and dropped, and what the network looked at."""

import dataclasses
import math

import numpy as np

from fetal_jax.core.types import Variables
from fetal_jax.evaluation.explain import Concentration, heat
from fetal_jax.evaluation.explain.explanations import Explainer
from fetal_jax.evaluation.scores import Scored
from fetal_jax.experiment import Experiment
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.reporting.report import Example, Explanation
from fetal_jax.training.pseudo_labels import KEPT
from fetal_jax.workdir import Workdir
from input_pipeline.dataset import Record

CONCENTRATION = (
    "concentration: the share of Grad-CAM inside the structure, over the structure's share of the image; a map that "
    "knows nothing has 1."
)
N_EXAMPLES = 3  # of the best, the median and the worst images, and of kept and dropped pseudo-labels


def ranked(scored: Scored) -> list[int]:
    """The images that have a Dice, worst first."""
    dice = scored.dice()
    return [int(i) for i in np.argsort(dice, kind="stable") if not np.isnan(dice[i])]


def of_test(experiment: Experiment, segmenter: Segmenter, scored: Scored) -> list[Example]:
    """The worst, median and best test images, as the final network segments them."""
    order, dice = ranked(scored), scored.dice()
    number = N_EXAMPLES if experiment.facts.dims == 2 else 1  # a volume takes longer
    middle = max(0, len(order) // 2 - number // 2)
    chosen = {"worst": order[:number], "median": order[middle:][:number], "best": order[::-1][:number]}
    examples = []
    for title, indices in chosen.items():
        for i in indices:
            record = experiment.dataset[scored.names[i]]
            prediction = dataclasses.replace(record, labels=segmenter(record.image).labels).picture_labels()
            pictures = record.picture(), record.picture_labels(), prediction
            examples.append(Example(title, record.name, record.subject, float(dice[i]), *pictures))
    return examples


def of_pool(experiment: Experiment, workdir: Workdir) -> list[Example]:
    """Some kept and some dropped pseudo-labels of the last labelling: images at network size, slices of volumes."""
    labelling = workdir.labelling_records(experiment.stages)
    if not labelling:
        return []
    images, pool = labelling[-1]["images"], experiment.source("unlabelled")
    labels = workdir.load_labels(labelling[-1]["stage"]).labels
    kept = [i for i, image in enumerate(images) if image["kept"]]
    dropped = [i for i, image in enumerate(images) if not image["kept"]]
    examples = []
    for i in [*kept[:N_EXAMPLES], *dropped[:N_EXAMPLES]]:
        title = KEPT if images[i]["kept"] else images[i]["reason"]
        image, prediction = pool.image(i)[..., 0], labels[i]
        if experiment.facts.dims == 3:
            record = dataclasses.replace(experiment.dataset[images[i]["name"]], labels=labels[i])
            image, prediction = record.picture(), record.picture_labels()
        examples.append(Example(title, images[i]["name"], images[i]["subject"], None, image, None, prediction))
    return examples


def of_explanations(
    experiment: Experiment, segmenter: Segmenter, variables: Variables, scored: Scored, number: int
) -> list[Explanation]:
    """What decided in the worst test images. None for networks of volumes."""
    if not number or experiment.facts.dims != 2:
        return []
    explain = Explainer(segmenter.card, variables)
    return [_explained(experiment.dataset[scored.names[i]], segmenter, explain) for i in ranked(scored)[:number]]


def _explained(record: Record, segmenter: Segmenter, explain: Explainer) -> Explanation:
    """Maps of the structure that the network gives most pixels to, coloured upon the image."""
    found = explain(record.image, record.labels)
    titles = {"grad_cam": f"Grad-CAM, {found.layer}", "guided_grad_cam": "Guided Grad-CAM", "occlusion": "Occlusion"}
    return Explanation(
        name=record.name,
        subject=record.subject,
        structure=segmenter.card.facts.classes[found.class_id],
        image=record.picture(),
        labels=record.labels,
        prediction=segmenter(record.image).labels,
        maps={titles.get(name, name): heat(record.picture(), saliency) for name, saliency in found.maps.items()},
        notes=[*found.notes, CONCENTRATION],
        concentration=_lift(found.concentration.get("grad_cam")),
    )


def _lift(concentration: Concentration | None) -> float | None:
    return None if concentration is None or math.isnan(concentration.lift) else concentration.lift
