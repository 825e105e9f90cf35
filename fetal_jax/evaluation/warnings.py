"""What a reader of a run's scores must know first."""

from typing import Any

from fetal_jax.experiment import Experiment
from fetal_jax.workdir import Workdir
from input_pipeline import augment

FEW_SUBJECTS = 30
# Sonographers' own heads differ by 4.6 mm of HC (SD), which is a Dice of 0.974: INTERGROWTH-21st, 20,029 scans.
TOO_GOOD = 0.99


def of_run(experiment: Experiment, workdir: Workdir, test: dict[str, Any], final: str) -> list[str]:
    """The warnings of the scores `test` of the stage `final`."""
    return [
        *experiment.warnings,
        *_of_training(experiment, workdir, final),
        *_of_the_test_set(test),
        *_of_structures(experiment, test),
    ]


def _of_training(experiment: Experiment, workdir: Workdir, final: str) -> list[str]:
    warnings = []
    if final != experiment.stages[-1].name:
        warnings.append(f"The run has not finished: these are the scores of stage {final}.")
    if len(experiment.splits.parts["validation"]) == 0:
        warnings.append("There are no validation images: every stage keeps its last network, not its best.")
    blurs = augment.blurs(experiment.stages[-1].augment)
    if blurs != {experiment.settings.evaluation.blur}:
        warnings.append(
            f"evaluation.blur is {experiment.settings.evaluation.blur}, but the last stage trained with a blur of "
            f"{' and '.join(map(str, sorted(blurs)))}: the network is tested on other images than it knows."
        )
    for record in workdir.labelling_records(experiment.stages):
        if record["n_kept"] == 0:
            warnings.append(
                f"The labeller kept none of {record['n_pool']} images before stage {record['stage']}: "
                "that stage went on with the labelled images alone."
            )
    return warnings


def _of_the_test_set(test: dict[str, Any]) -> list[str]:
    warnings = []
    if test["n_subjects"] < FEW_SUBJECTS:
        warnings.append(f"Only {test['n_subjects']} test subjects: differences of a few points mean nothing.")
    distances = [sum(test["defined"].get(f"hd95_{unit}", {}).values()) for unit in ("px", "mm")]
    if 0 < distances[1] < distances[0]:
        warnings.append(f"{distances[1]} of {distances[0]} distances are known in mm: other images have no pixel size.")
    dice = test["per_image"]["dice"]["mean"]
    if dice is not None and dice > TOO_GOOD:
        warnings.append(
            f"Dice {dice:.4f} is above {TOO_GOOD}: two human annotators agree less (about 0.974 on heads). Look for "
            "a leak: the same subjects in training and test, near-duplicates (fetal-jax data audit), or masks made "
            "from one another."
        )
    return warnings


def _of_structures(experiment: Experiment, test: dict[str, Any]) -> list[str]:
    warnings = []
    for name in experiment.facts.foreground:
        absent = test["absent"][name]
        if absent["reference"] + absent["both"] == test["n_images"]:
            warnings.append(f"No test image shows {name}: nothing is known of how well it is found.")
        elif test["pooled"]["recall"][name] == 0:
            warnings.append(f"The network finds no pixel of the reference's {name} in any test image.")
    for name, cases in test["absent"].items():
        if cases["both"]:
            warnings.append(f"{name}: absent from {cases['both']} images and predictions, whose scores are undefined.")
    return warnings
