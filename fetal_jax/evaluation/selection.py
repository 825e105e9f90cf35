"""What is done to a network's answers beside taking the likeliest class: chosen on validation images, not assumed."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from fetal_jax.evaluation.evaluator import Clean
from fetal_jax.evaluation.paired_selection import Choice, choose
from fetal_jax.evaluation.scores import Scored, answers, count_labels, score, stack
from fetal_jax.experiment import Experiment
from fetal_jax.inference.postprocessing import postprocess, recipe, recipes
from fetal_jax.inference.predictor import AUTO
from fetal_jax.inference.segmenter import Segmenter
from fetal_jax.inference.tta import LOOKS, looks

NONE = "none"
ABSENT = 1.0  # Dice of a structure that is rightly not found: else who takes an invention away would gain nothing


@dataclasses.dataclass(frozen=True)
class Inference:
    """How answers are made. `choices` has what was compared, by "tta" and "postprocess", where it was not dictated."""

    tta: str = NONE
    postprocess: str = NONE
    choices: Mapping[str, Choice] = dataclasses.field(default_factory=dict)

    def cleaner(self, classes: Sequence[str], dims: int) -> Clean | None:
        """The post-processing of label maps; None where there is none."""
        steps = recipe(self.postprocess, classes, dims)
        return (lambda labels: postprocess(labels, steps)) if steps else None


def check(experiment: Experiment, *, tta: str, postprocess: str) -> None:
    """Raises UserError if a name is unknown, or not for this kind of data."""
    if tta != AUTO:
        looks(tta, experiment.facts.dims)
    if postprocess != AUTO:
        recipe(postprocess, experiment.facts.classes, experiment.facts.dims)


def choose_inference(experiment: Experiment, segmenter: Segmenter, *, tta: str, postprocess: str) -> Inference:
    """The test-time augmentation and the post-processing of these names; AUTO is chosen on the validation images.

    First the augmentation, then the post-processing of its answers, each by a paired test against none.
    """
    check(experiment, tta=tta, postprocess=postprocess)
    choices = {}
    if tta == AUTO:
        choices["tta"] = _choice(experiment, lambda: _dice_by_tta(experiment, segmenter))
        tta = choices["tta"].chosen
    if postprocess == AUTO:
        choices["postprocess"] = _choice(experiment, lambda: _dice_by_recipe(experiment, segmenter.with_tta(tta)))
        postprocess = choices["postprocess"].chosen
    return Inference(tta, postprocess, choices)


def _choice(experiment: Experiment, dice: Callable[[], Mapping[str, np.ndarray]]) -> Choice:
    names = experiment.splits.parts["validation"]
    if not names:
        return Choice(NONE, NONE, (), "none: there are no validation images to choose on")
    return choose(dice(), [experiment.dataset.subjects[name] for name in names], NONE)


def _dice_by_tta(experiment: Experiment, segmenter: Segmenter) -> dict[str, np.ndarray]:
    """The Dice of every validation image under each augmentation."""
    return {
        name: _validated(experiment, segmenter.with_tta(name)).dice(ABSENT) for name in LOOKS[experiment.facts.dims]
    }


def _validated(experiment: Experiment, segmenter: Segmenter) -> Scored:
    records = experiment.dataset.records(experiment.splits.parts["validation"])
    return score(segmenter.probabilities, records, experiment.facts.classes)


def _dice_by_recipe(experiment: Experiment, segmenter: Segmenter) -> dict[str, np.ndarray]:
    """The Dice of every validation image after each recipe; the network looks at it once."""
    classes, dims = experiment.facts.classes, experiment.facts.dims
    every = recipes(classes, dims)
    records = experiment.dataset.records(experiment.splits.parts["validation"])
    names, subjects, counts = [], [], {name: [] for name in every}
    for record, probs in answers(segmenter.probabilities, records, classes):
        names.append(record.name)
        subjects.append(record.subject)
        labels = probs.argmax(-1).astype(np.uint8)
        for name, steps in every.items():
            counts[name].append(count_labels(postprocess(labels, steps), record.labels, len(classes)))
    images = tuple(names), tuple(subjects), classes[1:]
    return {name: Scored(*images, stack(of_recipe)).dice(ABSENT) for name, of_recipe in counts.items()}
