"""Warnings: what a reader of a run's scores must know first."""

import dataclasses
from collections.abc import Sequence

from fetal_jax.evaluation.protocol import LabellingResult
from fetal_jax.evaluation.scores import Scores

FEW_SUBJECTS = 30
# Sonographers' own heads differ by 4.6 mm of HC (SD), which is a Dice of 0.974: INTERGROWTH-21st, 20,029 scans.
TOO_GOOD = 0.99


@dataclasses.dataclass(frozen=True)
class TrainingFacts:
    """What warnings need to know of a run's training."""

    final_stage: str  # the last that has a network
    last_stage: str  # of the protocol
    n_validation: int  # images
    blur: int  # of the test images
    training_blurs: frozenset[int]  # of the last stage
    labelling: Sequence[LabellingResult]
    notes: Sequence[str]  # what the experiment warns of itself


def run_warnings(training: TrainingFacts, test: Scores, foreground: Sequence[str]) -> tuple[str, ...]:
    """The warnings of the scores of the final stage on the test images."""
    return (
        *training.notes,
        *_of_training(training),
        *_of_the_test_set(test),
        *_of_structures(test, foreground),
    )


def _of_training(training: TrainingFacts) -> list[str]:
    warnings = []
    if training.final_stage != training.last_stage:
        warnings.append(f"The run has not finished: these are the scores of stage {training.final_stage}.")
    if training.n_validation == 0:
        warnings.append("There are no validation images: every stage keeps its last network, not its best.")
    if training.training_blurs != {training.blur}:
        blurs = " and ".join(map(str, sorted(training.training_blurs)))
        warnings.append(
            f"evaluation.blur is {training.blur}, but the last stage trained with a blur of {blurs}: the network is "
            "tested on other images than it knows."
        )
    for labelling in training.labelling:
        if labelling.n_kept == 0:
            warnings.append(
                f"The labeller kept none of {labelling.n_pool} images before stage {labelling.stage}: "
                "that stage went on with the labelled images alone."
            )
    return warnings


def _of_the_test_set(test: Scores) -> list[str]:
    warnings = []
    if test.n_subjects < FEW_SUBJECTS:
        warnings.append(f"Only {test.n_subjects} test subjects: differences of a few points mean nothing.")
    px, mm = (_n_defined(test, f"hd95_{unit}") for unit in ("px", "mm"))
    if 0 < mm < px:
        warnings.append(f"{mm} of {px} distances are known in mm: other images have no pixel size.")
    dice = test.value("per_image", "dice")
    if dice is not None and dice > TOO_GOOD:
        warnings.append(
            f"Dice {dice:.4f} is above {TOO_GOOD}: two human annotators agree less (about 0.974 on heads). Look for "
            "a leak: the same subjects in training and test, near-duplicates (fetal-jax data audit), or masks made "
            "from one another."
        )
    return warnings


def _n_defined(test: Scores, metric: str) -> int:
    return sum(test.defined[metric].values()) if test.measures(metric) else 0


def _of_structures(test: Scores, foreground: Sequence[str]) -> list[str]:
    warnings = []
    for name in foreground:
        absent = test.absent[name]
        if absent.reference + absent.both == test.n_images:
            warnings.append(f"No test image shows {name}: nothing is known of how well it is found.")
        elif test.value("pooled", "recall", name) == 0:
            warnings.append(f"The network finds no pixel of the reference's {name} in any test image.")
    for name, cases in test.absent.items():
        if cases.both:
            warnings.append(f"{name}: absent from {cases.both} images and predictions, whose scores are undefined.")
    return warnings
