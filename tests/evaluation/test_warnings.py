"""What a reader of a run's scores must know first: each warning where it is due, and nowhere else."""

import numpy as np
import pytest
from planted import record, says

from fetal_jax.evaluation.evaluator import evaluate_records
from fetal_jax.evaluation.protocol import LabellingResult
from fetal_jax.evaluation.warnings import TrainingFacts, run_warnings

CLASSES = ("background", "csp", "lv")
SUBJECTS = 30


def pictures(n=SUBJECTS, labels=(0, 1, 1, 1, 2, 2), answer=(0, 1, 1, 0, 2, 2)):
    return [record(f"S{i}_a", [labels], [answer]) for i in range(n)]


def warned(test=None, **changes):
    """The warnings of a run that has these test images, of which nothing is wrong by default."""
    facts = {
        "final_stage": "retrain",
        "last_stage": "retrain",
        "n_validation": 3,
        "blur": 0,
        "labelling": (),
        "notes": (),
    }
    training = TrainingFacts(**{"training_blurs": frozenset({0}), **facts, **changes})
    scores = evaluate_records(says(3), pictures() if test is None else test, CLASSES).scored.averages()
    return list(run_warnings(training, scores, CLASSES[1:]))


@pytest.mark.slow
def test_a_run_of_which_nothing_is_wrong_has_no_warning():
    assert warned() == []


def test_what_the_experiment_knows_comes_first():
    assert warned(pictures(2), notes=["No training image shows lv."])[0] == "No training image shows lv."


def test_few_subjects():
    assert warned(pictures(29)) == ["Only 29 test subjects: differences of a few points mean nothing."]


@pytest.mark.slow
def test_a_dice_that_is_too_good_asks_for_a_leak():
    (warning,) = warned(pictures(answer=(0, 1, 1, 1, 2, 2)))
    assert warning.startswith("Dice 1.0000 is above 0.99: two human annotators agree less")
    assert "the same subjects in training and test" in warning
    near, good = np.zeros((2, 1, 400), int)
    near[0, :200], good[0, :197] = 1, 1
    near[0, 200:], good[0, 200:] = 2, 2
    (warning,) = warned([record(f"S{i}_a", near, good) for i in range(SUBJECTS)])
    assert warning.startswith(f"Dice {(2 * 197 / 397 + 1) / 2:.4f} is above 0.99")
    good[0, 190:197] = 0
    assert warned([record(f"S{i}_a", near, good) for i in range(SUBJECTS)]) == []


@pytest.mark.slow
def test_a_structure_that_no_test_image_shows():
    told = "No test image shows lv: nothing is known of how well it is found."
    assert warned(pictures(labels=(0, 1, 1, 1, 0, 0))) == [told]  # the network finds it: a false positive
    nowhere = warned(pictures(labels=(0, 1, 1, 1, 0, 0), answer=(0, 1, 1, 0, 0, 0)))
    assert nowhere == [told, "lv: absent from 30 images and predictions, whose scores are undefined."]


@pytest.mark.slow
def test_a_structure_that_is_never_found():
    assert warned(pictures(answer=(2, 1, 1, 0, 0, 0))) == [
        "The network finds no pixel of the reference's lv in any test image."
    ]


def test_a_structure_that_some_images_lack():
    some = [*pictures(28), *(record(f"T{i}_a", [[0, 1, 1, 1]], [[0, 1, 1, 0]]) for i in range(2))]
    assert warned(some) == ["lv: absent from 2 images and predictions, whose scores are undefined."]


def test_no_validation_images():
    assert warned(n_validation=0) == [
        "There are no validation images: every stage keeps its last network, not its best."
    ]


def test_a_run_that_has_not_finished():
    assert warned(final_stage="fine_tune") == ["The run has not finished: these are the scores of stage fine_tune."]


def test_another_blur_than_in_training():
    (warning,) = warned(blur=5)
    assert warning.startswith("evaluation.blur is 5, but the last stage trained with a blur of 0: the network is")


@pytest.mark.slow
@pytest.mark.parametrize(("n_kept", "number"), [(0, 1), (7, 0)])
def test_a_labeller_that_kept_nothing(n_kept, number):
    told = (
        "The labeller kept none of 200 images before stage retrain: that stage went on with the labelled images alone."
    )
    assert warned(labelling=(LabellingResult("retrain", "threshold", {}, 200, n_kept, ()),)) == [told] * number
